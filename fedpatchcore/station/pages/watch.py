"""The watch: charts by product, alarms with the pictures that set them off; a person's word."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.data.images import load_image
from fedpatchcore.drift.causes import Moved
from fedpatchcore.drift.cusum import run_length
from fedpatchcore.drift.watch import FIGURES
from fedpatchcore.station.asked import station_of
from fedpatchcore.station.drawing import as_jpeg
from fedpatchcore.station.render import LOOK
from fedpatchcore.station.tables import Alarm, Inspection
from fedpatchcore.web.asked import actor_of, form_of
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
LAST = 20  # accepted parts of "now"
SMALL = 240


@router.get("/watch")
def watch(request: Request) -> Response:
    """What is watched, what it set off, what people said of it."""
    station = station_of(request)
    alarms, watches = station.drift.alarms(), station.drift.watches()
    return LOOK.page(
        request,
        "watch.html.j2",
        on=station.settings.drift,
        alarms=[(one, _there(request, one)) for one in alarms],
        ended=station.drift.alarms(ended=True, most=20),
        watches=[(row, one, one.moved(LAST)) for row, one in watches],
        figures=FIGURES,
        length=run_length,
        moved=lambda told: Moved(**told),
        trouble=station.drift.trouble,
    )


def _there(request: Request, alarm: Alarm) -> set[int]:
    """Which of an alarm's parts are kept still."""
    named = {number for one in alarm.told["charts"] for number in one["parts"]}
    named |= set(alarm.told["usual"])
    with station_of(request).place.database.read() as session:
        return set(session.scalars(select(Inspection.id).where(Inspection.id.in_(named))))


@router.post("/watch/{number}/mended")
def mended(request: Request, number: int) -> Response:
    """An alarm's cause is mended: charts begin anew over the same reference."""
    return _seen(request, number, "mended")


@router.post("/watch/{number}/usual")
def usual(request: Request, number: int) -> Response:
    """It is as it should be from now on: a new reference is gathered."""
    return _seen(request, number, "usual")


def _seen(request: Request, number: int, how: str) -> Response:
    note = form_of(request).text("note", 1000)
    if not 0 < number < 2**53:
        raise Refused(404, "there is no such alarm")
    station_of(request).drift.see(actor_of(request), number, how, note)
    return RedirectResponse("/watch", 303)


@router.get("/watch/{number}/training/{at}.jpg")
def training(request: Request, number: int, at: int) -> Response:
    """A training image that stands beside an alarm."""
    station = station_of(request)
    with station.place.database.read() as session:
        alarm = session.get(Alarm, number) if 0 < number < 2**53 else None
    files = alarm.told["training"] if alarm else []
    if not 0 <= at < len(files) or not station.is_training(Path(files[at])):
        raise Refused(404, "this training image is not there any longer")
    with station.drawing:
        picture = load_image(Path(files[at]), station.value_range())
        picture.thumbnail((SMALL, SMALL))
    return Response(as_jpeg(picture), media_type="image/jpeg")
