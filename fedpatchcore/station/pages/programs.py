"""What programs ask of a station: inspect an image, results, maps, health, metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from fedpatchcore.station.asked import inspection_of, station_of
from fedpatchcore.station.drawing import KINDS, as_png, drawn
from fedpatchcore.station.tables import Inspection
from fedpatchcore.station.told import as_json
from fedpatchcore.station.uploads import read_image
from fedpatchcore.texts import is_name
from fedpatchcore.web.asked import caller_of
from fedpatchcore.web.guard import CERTIFICATE, address_of
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
MOST = 1000


@router.post("/v1/inspect")
async def inspect(request: Request, product: str = "", name: str = "") -> Response:
    """Judge the image in the body → its verdict; 202 with its number if that takes too long.

    The same content under the same name is the same image: sent again, it has the same verdict.
    """
    station = station_of(request)
    station.rates.take(_who(request))
    if name and not is_name(name):
        raise Refused(400, "name: one line of up to 255 characters")
    async with station.uploading():
        data = await read_image(request, station.settings)
        number = await run_in_threadpool(station.receive, data, name, product)
    promise = station.waiting.register(number)
    try:
        told = await run_in_threadpool(_told, request, number)
        if told["state"] == "waiting":
            try:
                kept = asyncio.wrap_future(promise)
                await asyncio.wait_for(kept, station.settings.answer_seconds)
            except TimeoutError:
                place = {"location": f"/v1/inspections/{number}"}
                return JSONResponse({"id": number, "state": "waiting"}, 202, headers=place)
            told = await run_in_threadpool(_told, request, number)
    finally:
        station.waiting.forget(number, promise)
    return JSONResponse(told, 422 if told["state"] == "failed" else 200)


def _who(request: Request) -> str:
    """A key by its name; callers that show a certificate alone by their address."""
    caller = caller_of(request)
    return f"{caller.name} {address_of(request)}" if caller.name == CERTIFICATE else caller.name


def _told(request: Request, number: int) -> dict[str, Any]:
    one, station = inspection_of(request, number), station_of(request)
    return as_json(one, station.settings.station)


@router.get("/v1/inspections")
def inspections(
    request: Request, after: int = 0, verdict: str = "", product: str = "", most: int = 100
) -> Response:
    """What was judged, by number, from the one behind ``after`` on."""
    station = station_of(request)
    if not (0 <= after < 2**53 and 1 <= most <= MOST):
        raise Refused(400, f"after: a number; most: 1 to {MOST}")
    query = select(Inspection).where(Inspection.id > after).order_by(Inspection.id).limit(most)
    if verdict:
        query = query.where(Inspection.verdict == verdict)
    if product:
        query = query.where(Inspection.product == product)
    with station.place.database.read() as session:
        found = list(session.scalars(query))
    name = station.settings.station
    return JSONResponse([as_json(one, name) for one in found])


@router.get("/v1/inspections/{number}")
def inspection(request: Request, number: int) -> Response:
    """One image's verdict."""
    return JSONResponse(_told(request, number))


@router.get("/v1/inspections/{number}/{kind}.png")
def picture(request: Request, number: int, kind: str) -> Response:
    """The heatmap, or the map over the image, in the image's own pixels."""
    if kind not in KINDS[1:]:
        raise Refused(404, f"there is {', '.join(KINDS[1:])}")
    one, station = inspection_of(request, number), station_of(request)
    file = station.place.image(one.digest)
    with station.drawing:
        data = as_png(drawn(one, file, kind, value_range=station.value_range()))
    return Response(data, media_type="image/png")


@router.get("/v1/health")
def health(request: Request) -> Response:
    """How the station is: 200 if all is well, else 503 with what keeps images waiting."""
    told = station_of(request).health()
    return JSONResponse(told, 200 if told["well"] else 503)


@router.get("/v1/rates")
def rates(request: Request) -> Response:
    """False alarms and misses by people's word, a product each, with 90% intervals."""
    return JSONResponse([one.told() for one in station_of(request).words.real()])


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """For Prometheus."""
    station = station_of(request)
    station.measure()
    return Response(station.measures.text(), media_type="text/plain; version=0.0.4")
