"""Who may do what: one table of every route, with the least role that it takes.

A route without a line in the table is refused to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["OF_PEOPLE", "OPEN", "PUBLIC", "Roles"]

PUBLIC = "public"

OPEN: Mapping[tuple[str, str], str] = {
    ("GET", "/health"): PUBLIC,
    ("GET", "/assets/{name}"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("GET", "/join/{secret}"): PUBLIC,
    ("POST", "/join/{secret}"): PUBLIC,
}
"""What every place has for anyone who reaches its port."""

OF_PEOPLE: Mapping[tuple[str, str], str] = {
    ("GET", "/people"): "admin",
    ("POST", "/people/invite"): "admin",
    ("POST", "/people/{user_id}/role"): "admin",
    ("POST", "/people/{user_id}/end"): "admin",
    ("POST", "/tokens"): "admin",
    ("POST", "/tokens/{token_id}/end"): "admin",
}
"""The page on which people and keys are made and ended."""


@dataclass(frozen=True)
class Roles:
    """The roles of one place, and the table of its routes.

    Attributes:
        names: each may what those before it may.
        routes: ``(method, path)`` → the least role, or `PUBLIC`.
        bodies: routes that read the body of a request themselves; of all others it is a form.
    """

    names: tuple[str, ...]
    routes: Mapping[tuple[str, str], str]
    bodies: frozenset[tuple[str, str]] = frozenset()

    def needed(self, method: str, path: str) -> str | None:
        """The least role of a route; None where it has no line, and nobody may."""
        return self.routes.get((method, path))

    def allows(self, role: str, least: str) -> bool:
        """Whether a role may do what takes this least one."""
        known = role in self.names and least in self.names
        return known and self.names.index(role) >= self.names.index(least)
