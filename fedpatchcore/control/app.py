"""The control room's web application."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session

from fedpatchcore.control.pages import PAGES
from fedpatchcore.control.render import LOOK
from fedpatchcore.control.roles import TABLE
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import Screen, Site
from fedpatchcore.web.application import assembled
from fedpatchcore.web.door import LOOPBACK
from fedpatchcore.web.moments import now
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
        beside_people=_screens_and_sites,
    )
    app = assembled("FedPatchCore control room", PAGES, parts, names)
    app.state.room = room
    return app


def _screens_and_sites(session: Session) -> dict[str, Any]:
    """What the page of people shows of a control room."""
    return {
        "screens": list(session.scalars(select(Screen).where(Screen.ends_at > now()))),
        "sites": list(session.scalars(select(Site.name).order_by(Site.name))),
    }
