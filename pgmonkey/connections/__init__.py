"""Settings -> live connections."""
