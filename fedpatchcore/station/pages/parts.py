"""Stopped parts, one at a time: heatmap, regions, why; and a person's word."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from PIL import Image
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.data.images import load_image
from fedpatchcore.station.asked import inspection_of, station_of
from fedpatchcore.station.checks import TO_CHECK
from fedpatchcore.station.drawing import as_jpeg, drawn
from fedpatchcore.station.pages.line import OPEN
from fedpatchcore.station.render import LOOK
from fedpatchcore.station.tables import Inspection
from fedpatchcore.web.asked import actor_of, form_of
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
QUEUE = 30
SIZES = {"plain": 1600, "overlay": 1600, "thumb": 240}
AROUND = 5  # sides of a patch that a comparison shows
FOR_GOOD = {"cache-control": "private, max-age=3600"}  # a number's pictures never change


@router.get("/stopped")
def stopped(request: Request) -> Response:
    """The first part that waits for a person's word; stopped parts before those drawn by lot."""
    return _first(request, OPEN, TO_CHECK)


@router.get("/checks")
def checks(request: Request) -> Response:
    """The first passed part that was drawn by lot; where none waits, the first stopped one."""
    return _first(request, TO_CHECK, OPEN)


def _first(request: Request, *wishes: Any) -> Response:
    with station_of(request).place.database.read() as session:
        for wish in wishes:
            mine = select(Inspection.id).where(wish).order_by(Inspection.id).limit(1)
            if (number := session.scalar(mine)) is not None:
                return _page(request, number)
    return LOOK.page(request, "stopped.html.j2", queue=[], one=None)


@router.get("/parts/{number}")
def part(request: Request, number: int) -> Response:
    """One image, with all that was said of it."""
    return _page(request, number)


def _page(request: Request, number: int) -> Response:
    station, one = station_of(request), inspection_of(request, number)
    with station.place.database.read() as session:
        queue, lots = (
            list(
                session.scalars(select(Inspection).where(one).order_by(Inspection.id).limit(QUEUE))
            )
            for one in (OPEN, TO_CHECK)
        )
    mine = lots if one.drawn else queue
    at = next((at for at, other in enumerate(mine) if other.id == number), None)
    later = None if at is None else next((other.id for other in mine[at + 1 :]), None)
    earlier = None if not at else mine[at - 1].id
    return LOOK.page(
        request,
        "stopped.html.j2",
        one=one,
        queue=queue,
        lots=lots,
        words=station.words.of(number),
        later=later,
        earlier=earlier,
        lacking=station.explainer.lacking(station.worker.bench, one.product),
        taught=station.teaching.of(number),
        may_teach=bool(station.settings.training),
    )


@router.post("/parts/{number}/word")
def word(request: Request, number: int) -> Response:
    """A person's word; the next part that waits in the same queue comes up."""
    form, station = form_of(request), station_of(request)
    by_lot = bool(inspection_of(request, number).drawn)
    station.words.say(actor_of(request), number, form.text("says", 20), form.text("note", 1000))
    return RedirectResponse("/checks" if by_lot else "/stopped", 303)


@router.post("/parts/undo")
def undo_last(request: Request) -> Response:
    """Take back the last word that this person said."""
    station, actor = station_of(request), actor_of(request)
    number = station.words.last_of(actor)
    if number is None:
        raise Refused(400, "you said nothing that could be taken back")
    station.words.undo(actor, number)
    return RedirectResponse(f"/parts/{number}", 303)


@router.post("/parts/{number}/undo")
def undo(request: Request, number: int) -> Response:
    """Take back the last word on this part."""
    station_of(request).words.undo(actor_of(request), number)
    return RedirectResponse(f"/parts/{number}", 303)


@router.get("/parts/{number}/{kind}.jpg")
def picture(request: Request, number: int, kind: str) -> Response:
    """The image, small or large, or the map over it."""
    if kind not in SIZES:
        raise Refused(404, "there is no such picture")
    station, one = station_of(request), inspection_of(request, number)
    shown = "overlay" if kind == "overlay" else "plain"
    with station.drawing:
        made = drawn(
            one,
            station.place.image(one.digest),
            shown,
            most=SIZES[kind],
            value_range=station.value_range(),
        )
    return Response(as_jpeg(made), media_type="image/jpeg", headers=FOR_GOOD)


@router.get("/parts/{number}/why/{at}/{side}.jpg")
def why(request: Request, number: int, at: int, side: str) -> Response:
    """A patch of this image (``here``), or the good one (``there``), with what is around."""
    station, one = station_of(request), inspection_of(request, number)
    if side not in ("here", "there") or not 0 <= at < len(one.why):
        raise Refused(404, "there is no such picture")
    told = one.why[at]
    here = station.place.image(one.digest)
    file = here if side == "here" else station.training_image(told["image"])
    if file is None:
        raise Refused(404, "this training image is not there any longer")
    with station.drawing:
        made = _around(load_image(file, station.value_range()), told[side])
    return Response(as_jpeg(made), media_type="image/jpeg", headers=FOR_GOOD)


def _around(image: Image.Image, box: list[int]) -> Image.Image:
    left, top, right, bottom = box
    side = AROUND * max(right - left, bottom - top, 4)
    x, y = (left + right) // 2, (top + bottom) // 2
    x = min(max(x, side // 2), max(image.width - side // 2, side // 2))
    y = min(max(y, side // 2), max(image.height - side // 2, side // 2))
    cut = image.crop((x - side // 2, y - side // 2, x + side // 2, y + side // 2))
    return cut.resize((320, 320), Image.Resampling.BICUBIC)
