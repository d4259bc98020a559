"""Who may do what: one table of every route, with the least role that it takes.

A route without a line here is refused to everybody, and a test goes through all routes times all
roles. Tokens of programs have roles as people have.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedpatchcore.web.roles import PUBLIC, Roles

__all__ = ["PUBLIC", "ROLES", "ROUTES", "TABLE", "allows"]

ROLES = ("site", "viewer", "operator", "releaser", "admin")  # each may what those before it may

ROUTES: Mapping[tuple[str, str], str] = {
    # anyone who reaches the port
    ("GET", "/health"): PUBLIC,
    ("GET", "/assets/{name}"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("GET", "/join/{secret}"): PUBLIC,
    ("POST", "/join/{secret}"): PUBLIC,
    # a site's own people, and its station with a key: their site and nothing of the others'
    ("GET", "/"): "site",
    ("GET", "/mine"): "site",
    ("POST", "/logout"): "site",
    ("GET", "/live"): "site",
    ("GET", "/api/products/{product}/bank"): "site",
    ("POST", "/api/judging"): "site",
    # look
    ("GET", "/overview"): "viewer",
    ("GET", "/runs"): "viewer",
    ("GET", "/runs/{run_id}"): "viewer",
    ("GET", "/runs/{run_id}/log"): "viewer",
    ("GET", "/runs/{run_id}/report"): "viewer",
    ("GET", "/compare"): "viewer",
    ("GET", "/banks"): "viewer",
    ("GET", "/banks/{version_id}"): "viewer",
    ("GET", "/history"): "viewer",
    ("GET", "/api/openapi.json"): "viewer",
    ("GET", "/api/sites"): "viewer",
    ("GET", "/api/runs"): "viewer",
    ("GET", "/api/runs/{run_id}"): "viewer",
    ("GET", "/api/banks"): "viewer",
    ("GET", "/api/history"): "viewer",
    # runs
    ("GET", "/start"): "operator",
    ("POST", "/start"): "operator",
    ("POST", "/runs/{run_id}/stop"): "operator",
    ("POST", "/runs/{run_id}/resume"): "operator",
    ("POST", "/api/runs"): "operator",
    ("POST", "/banks/{version_id}/note"): "operator",
    # banks
    ("POST", "/banks/{version_id}/release"): "releaser",
    ("POST", "/products/back"): "releaser",
    # people and the trail
    ("GET", "/people"): "admin",
    ("POST", "/people/invite"): "admin",
    ("POST", "/people/{user_id}/role"): "admin",
    ("POST", "/people/{user_id}/end"): "admin",
    ("POST", "/tokens"): "admin",
    ("POST", "/tokens/{token_id}/end"): "admin",
    ("GET", "/trail"): "admin",
    ("GET", "/trail/export"): "admin",
}

TABLE = Roles(ROLES, ROUTES)
allows = TABLE.allows
