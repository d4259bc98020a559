"""Differential privacy of what a site releases: noise, accounting and the site's ledger."""
