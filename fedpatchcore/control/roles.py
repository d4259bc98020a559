"""Who may do what: one table of every route, with the least role that it takes.

A route without a line here is refused to everybody, and a test goes through all routes times all
roles. Tokens of programs have roles as people have.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedpatchcore.web.roles import OF_PEOPLE, OPEN, PUBLIC, Roles

__all__ = ["ANYONE", "PUBLIC", "ROLES", "ROUTES", "TABLE", "WALL", "allows"]

ROLES = ("site", "viewer", "operator", "releaser", "admin")  # each may what those before it may
ANYONE = "anyone"  # who is known here, a wall screen among them
WALL = "wall"  # of a screen without a person: its one page and nothing else

ROUTES: Mapping[tuple[str, str], str] = {
    **OPEN,
    ("GET", "/wall/{secret}"): PUBLIC,
    ("POST", "/wall/{secret}"): PUBLIC,
    # whoever is known
    ("GET", "/"): ANYONE,
    ("GET", "/live"): ANYONE,
    ("GET", "/wall"): WALL,
    # a site's own people, and its station with a key: their site and nothing of the others'
    ("GET", "/mine"): "site",
    ("POST", "/logout"): "site",
    ("GET", "/api/products/{product}/bank"): "site",
    ("GET", "/api/products"): "site",
    ("POST", "/api/judging"): "site",
    ("POST", "/api/alarms"): "site",
    ("POST", "/api/images"): "site",
    # look
    ("GET", "/overview"): "viewer",
    ("GET", "/runs"): "viewer",
    ("GET", "/runs/{run_id}"): "viewer",
    ("GET", "/runs/{run_id}/log"): "viewer",
    ("GET", "/runs/{run_id}/report"): "viewer",
    ("GET", "/compare"): "viewer",
    ("GET", "/compare/reports"): "viewer",
    ("GET", "/schedules"): "viewer",
    ("GET", "/metrics"): "viewer",
    ("GET", "/banks"): "viewer",
    ("GET", "/banks/{version_id}"): "viewer",
    ("GET", "/banks/{version_id}/beside/{other_id}"): "viewer",
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
    ("POST", "/presets/{name}/remove"): "operator",
    ("POST", "/schedules"): "operator",
    ("POST", "/schedules/{schedule_id}/end"): "operator",
    ("POST", "/alarms/{alarm_id}/seen"): "operator",
    ("POST", "/banks/{version_id}/note"): "operator",
    # banks
    ("POST", "/banks/{version_id}/release"): "releaser",
    ("POST", "/products/back"): "releaser",
    ("POST", "/products/automatic"): "releaser",
    ("POST", "/banks/{version_id}/remove"): "admin",
    # people and the trail
    **OF_PEOPLE,
    ("POST", "/screens"): "admin",
    ("POST", "/screens/{screen_id}/end"): "admin",
    ("GET", "/trail"): "admin",
    ("GET", "/trail/export"): "admin",
}


class WithScreens(Roles):
    """The table, with screens that stand beside the row of roles."""

    def allows(self, role: str, least: str) -> bool:
        """Whether a role may do what takes this least one; a wall screen only what names it."""
        if least == ANYONE:
            return role == WALL or role in self.names
        if least == WALL:
            return role == WALL or super().allows(role, "viewer")
        return super().allows(role, least)


TABLE = WithScreens(ROLES, ROUTES)
allows = TABLE.allows
