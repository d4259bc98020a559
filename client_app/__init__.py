"""Flower's side of a site, and the records that both apps share."""
