"""The control room's web application."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI

from fedpatchcore.control.pages import PAGES
from fedpatchcore.control.render import LOOK
from fedpatchcore.control.roles import TABLE
from fedpatchcore.control.room import Room
from fedpatchcore.web.application import assembled
from fedpatchcore.web.door import LOOPBACK
from fedpatchcore.web.parts import Parts

__all__ = ["application"]


def application(room: Room, names: Iterable[str] = LOOPBACK) -> FastAPI:
    """All routes over one room; it answers to these names alone."""
    parts = Parts(
        room.database,
        room.trail,
        room.people,
        TABLE,
        LOOK,
        lambda: room.mirror.version,
        tls=room.tls,
        beside=room.screens.behind,
        answered=room.counts.answered,
    )
    app = assembled("FedPatchCore control room", PAGES, parts, names)
    app.state.room = room
    return app
