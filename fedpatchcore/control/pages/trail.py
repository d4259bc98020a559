"""The trail: looked through, and exported with its digests."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse

from fedpatchcore.control.asked import room_of
from fedpatchcore.control.render import page
from fedpatchcore.errors import ControlError
from fedpatchcore.web.tables import Audit

__all__ = ["router"]

router = APIRouter()
LISTED = 200


@router.get("/trail")
def trail(request: Request) -> Response:
    """The last records, and whether the chain holds."""
    room = room_of(request)
    try:
        head, wrong = room.trail.verify(), ""
    except ControlError as error:
        head, wrong = "", str(error)
    with room.database.read() as session:
        last = select(Audit.record).order_by(Audit.number.desc()).limit(LISTED)
        records = [json.loads(one) for one in session.scalars(last)]
    return page(request, "trail.html.j2", records=records, head=head, wrong=wrong)


@router.get("/trail/export")
def export(request: Request) -> Response:
    """All records, a JSON object a line."""
    lines = (f"{line}\n" for line in room_of(request).trail.lines())
    kept = {"content-disposition": 'attachment; filename="trail.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=kept)
