"""What the routes of a station need of a request."""

from __future__ import annotations

from starlette.requests import Request

from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection
from fedpatchcore.web.refusals import Refused

__all__ = ["inspection_of", "station_of"]


def station_of(request: Request) -> Station:
    """The station that this application shows."""
    return request.app.state.station


def inspection_of(request: Request, number: int) -> Inspection:
    """An image by its number. Raises Refused (404) for one that is not, or no longer, here."""
    if not 0 < number < 2**53:
        raise Refused(404, "there is no such image")
    with station_of(request).place.database.read() as session:
        found = session.get(Inspection, number)
    if found is None:
        raise Refused(404, f"there is no image {number}, or it is not kept any longer")
    return found
