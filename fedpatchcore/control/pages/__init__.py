"""The routes, by what they are about."""

from fedpatchcore.control.pages import (
    banks,
    overview,
    people,
    programs,
    runs,
    start,
    trail,
)
from fedpatchcore.web.pages import live, login

__all__ = ["PAGES"]

PAGES = tuple(
    one.router for one in (live, login, overview, runs, start, banks, people, trail, programs)
)
