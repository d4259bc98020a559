"""Who may do what at a station."""

from __future__ import annotations

from collections.abc import Mapping

from fedpatchcore.web.roles import PUBLIC, Roles

__all__ = ["ROLES", "ROUTES", "TABLE", "allows"]

ROLES = ("camera", "viewer", "inspector", "lead", "admin")  # each may what those before it may

ROUTES: Mapping[tuple[str, str], str] = {
    # anyone who reaches the port
    ("GET", "/health"): PUBLIC,
    ("GET", "/assets/{name}"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("GET", "/join/{secret}"): PUBLIC,
    ("POST", "/join/{secret}"): PUBLIC,
}

TABLE = Roles(ROLES, ROUTES)
allows = TABLE.allows
