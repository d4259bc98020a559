"""The line: the last image with its verdict, to be read from three metres; the language."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.station.asked import station_of
from fedpatchcore.station.checks import TO_CHECK
from fedpatchcore.station.render import LOOK
from fedpatchcore.station.speech import COOKIE, LANGUAGES
from fedpatchcore.station.tables import Inspection
from fedpatchcore.web.asked import form_of
from fedpatchcore.web.moments import DAY, now
from fedpatchcore.web.refusals import Refused

__all__ = ["OPEN", "router"]

router = APIRouter()
LAST = 12
OPEN = (Inspection.verdict.in_(("defect", "undecided"))) & (Inspection.said == "")


@router.get("/")
def line(request: Request) -> Response:
    """The last image, those before it, how many wait for a person."""
    station = station_of(request)
    settled = Inspection.state.in_(("judged", "failed"))
    with station.place.database.read() as session:
        query = select(Inspection).where(settled)
        query = query.order_by(Inspection.judged_at.desc(), Inspection.id.desc()).limit(LAST)
        found = list(session.scalars(query))
        stopped = session.scalar(select(func.count()).select_from(Inspection).where(OPEN))
        checks = session.scalar(select(func.count()).select_from(Inspection).where(TO_CHECK))
        lately = (Inspection.state == "failed") & (Inspection.judged_at > now() - DAY)
        failed = session.scalar(select(func.count()).select_from(Inspection).where(lately))
    return LOOK.page(
        request,
        "line.html.j2",
        last=found[0] if found else None,
        before=found[1:],
        stopped=stopped,
        checks=checks,
        failed=failed,
        health=station.health(),
    )


@router.post("/language")
def language(request: Request) -> Response:
    """The language of this browser's pages."""
    chosen = form_of(request).text("language", 10)
    if chosen not in LANGUAGES:
        raise Refused(400, f"the pages speak {', '.join(LANGUAGES)}")
    answer = RedirectResponse("/", 303)
    secure = bool(station_of(request).settings.certfile)
    answer.set_cookie(COOKIE, chosen, max_age=31_536_000, samesite="strict", secure=secure)
    return answer
