"""CSV into and out of PostgreSQL, over a connection that somebody else opened."""
