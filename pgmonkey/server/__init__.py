"""What a configuration asks of a server, and what a live server has."""
