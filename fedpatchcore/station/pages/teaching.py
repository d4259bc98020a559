"""Into training, and back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.station.asked import station_of
from fedpatchcore.web.asked import actor_of, form_of

__all__ = ["router"]

router = APIRouter()


@router.post("/parts/{number}/teach")
def teach(request: Request, number: int) -> Response:
    """A part that was called good goes into the site's training folder."""
    why = form_of(request).text("why", 500)
    station_of(request).teaching.give(actor_of(request), number, why)
    return RedirectResponse(f"/parts/{number}", 303)


@router.post("/parts/{number}/unteach")
def unteach(request: Request, number: int) -> Response:
    """It leaves the training folder again."""
    station_of(request).teaching.take_back(actor_of(request), number)
    return RedirectResponse(f"/parts/{number}", 303)
