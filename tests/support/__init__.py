"""What the tests stand on: a real PostgreSQL with TLS, certificates, a network to disturb."""
