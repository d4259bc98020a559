"""A federation across hosts: certificates, the closed door, a check-up."""
