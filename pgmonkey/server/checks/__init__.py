"""The catalogue of checks, one module an area."""
