"""Banks: which one judges since when, by whom; a click back to the one before, and forth again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.station.asked import station_of
from fedpatchcore.station.render import LOOK
from fedpatchcore.web.asked import actor_of, form_of

__all__ = ["router"]

router = APIRouter()


@router.get("/banks")
def banks(request: Request) -> Response:
    """The bank in use, the one before, what was in use."""
    station = station_of(request)
    return LOOK.page(
        request,
        "banks.html.j2",
        used=station.banks.used(),
        before=station.banks.before(),
        limits=station.thresholds.limits(),
        held=station.banks.held(),
        refused=station.switch.refused,
        released=station.released,
        judge_by=station.settings.judge_by,
        runs=bench.detector.backbone if (bench := station.worker.bench) else None,
    )


@router.post("/banks/back")
def back(request: Request) -> Response:
    """Judge by the bank before."""
    why = form_of(request).text("why", 500)
    station_of(request).switch.go_back(actor_of(request), why)
    return RedirectResponse("/banks", 303)


@router.post("/banks/newer")
def newer(request: Request) -> Response:
    """Judge by the newer bank again."""
    station_of(request).switch.take_newer(actor_of(request))
    return RedirectResponse("/banks", 303)
