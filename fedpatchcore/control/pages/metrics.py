"""For Prometheus, with a key of the role viewer."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from fedpatchcore.control.asked import room_of
from fedpatchcore.control.counting import exposition
from fedpatchcore.web.pages import live

__all__ = ["router"]

router = APIRouter()
KIND = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """The control room's and the registry's own metrics."""
    return Response(exposition(room_of(request), live.open_streams), headers={"content-type": KIND})
