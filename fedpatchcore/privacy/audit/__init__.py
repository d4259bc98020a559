"""Attacks on banks and mechanisms, and what they show against what is claimed."""
