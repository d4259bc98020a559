"""The server's halves of the methods."""
