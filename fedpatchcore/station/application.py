"""The station's web application."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI

from fedpatchcore.station.pages import PAGES
from fedpatchcore.station.render import LOOK
from fedpatchcore.station.roles import TABLE
from fedpatchcore.station.station import Station
from fedpatchcore.web.application import assembled
from fedpatchcore.web.door import LOOPBACK
from fedpatchcore.web.parts import Parts

__all__ = ["application"]


def application(station: Station, names: Iterable[str] = LOOPBACK) -> FastAPI:
    """All routes over one station; it answers to these names alone."""
    place, settings = station.place, station.settings
    parts = Parts(
        place.database,
        place.trail,
        place.people,
        TABLE,
        LOOK,
        lambda: place.version,
        tls=bool(settings.certfile),
        certified="camera" if settings.client_ca else "",
    )
    app = assembled("FedPatchCore station", PAGES, parts, names)
    app.state.station = station
    return app
