"""The site's halves of the methods."""
