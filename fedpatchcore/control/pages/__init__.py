"""The routes, by what they are about."""

from fedpatchcore.control.pages import (
    banks,
    metrics,
    overview,
    programs,
    runs,
    schedules,
    start,
    stations,
    trail,
    wall,
)
from fedpatchcore.web.pages import live, login, people

__all__ = ["PAGES"]

PAGES = tuple(
    one.router
    for one in (
        live,
        login,
        overview,
        wall,
        runs,
        start,
        schedules,
        banks,
        people,
        trail,
        programs,
        stations,
        metrics,
    )
)
