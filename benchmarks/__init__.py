"""Measurements, each a script of its own, and what they share."""
