"""Flower's side of a site."""
