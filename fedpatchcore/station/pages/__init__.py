"""The routes, by what they are about."""

from fedpatchcore.station.pages import (
    banks,
    history,
    line,
    parts,
    programs,
    teaching,
    thresholds,
    watch,
)
from fedpatchcore.web.pages import live, login, people

__all__ = ["PAGES"]

PAGES = tuple(
    one.router
    for one in (
        live,
        login,
        line,
        parts,
        teaching,
        history,
        thresholds,
        watch,
        banks,
        people,
        programs,
    )
)
