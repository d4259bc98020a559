"""Another threshold, by a proposal that somebody saw; and the one before again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.station.asked import station_of
from fedpatchcore.web.asked import actor_of, form_of

__all__ = ["router"]

router = APIRouter()


@router.post("/thresholds/accept")
def accept(request: Request) -> Response:
    """Judge a product by what is proposed."""
    form = form_of(request)
    told = form.get("product", ""), form.text("kind", 20), form.text("value", 40)
    station_of(request).thresholds.accept(actor_of(request), *told, form.text("why", 500))
    return RedirectResponse("/history#thresholds", 303)


@router.post("/thresholds/back")
def back(request: Request) -> Response:
    """Judge a product by the threshold before."""
    product = form_of(request).get("product", "")
    station_of(request).thresholds.back(actor_of(request), product)
    return RedirectResponse("/history#thresholds", 303)
