"""Pages that are the same everywhere: coming in, health, assets, the live stream."""

from fedpatchcore.web.pages import live, login, people

__all__ = ["live", "login", "people"]
