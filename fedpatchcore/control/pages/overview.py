"""Who is there, what runs, which bank judges, what needs a person; and one site's own page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import actor_of, caller_of, room_of, within
from fedpatchcore.control.glance import banks_by_product, glance
from fedpatchcore.control.render import page
from fedpatchcore.control.roles import WALL
from fedpatchcore.control.tables import Alarm, Run, RunDetail, Site
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
MINE = 50  # runs that a site's own page looks through
ENTRIES = {"site": "/mine", WALL: "/wall"}


@router.get("/")
def entry(request: Request) -> Response:
    """The page that a person, or a screen, begins with."""
    return RedirectResponse(ENTRIES.get(caller_of(request).role, "/overview"), 303)


@router.get("/overview")
def overview(request: Request) -> Response:
    """Everything at a glance."""
    return page(request, "overview.html.j2", told=glance(room_of(request)))


@router.post("/alarms/{alarm_id}/seen")
def seen(request: Request, alarm_id: int) -> Response:
    """A person has seen to a site's alarm."""
    room = room_of(request)
    room.alarms.seen(actor_of(request), within(alarm_id))
    room.mirror.changed()
    return RedirectResponse("/overview", 303)


@router.get("/mine")
def mine(request: Request) -> Response:
    """One site's rounds, banks and figures, and nothing of the others'."""
    name = caller_of(request).site
    if not name:
        raise Refused(404, "this page is for a site's own people")
    with room_of(request).database.read() as session:
        site = session.get(Site, name)
        recent = select(Run, RunDetail).join(RunDetail, RunDetail.run_id == Run.id)
        recent = recent.order_by(Run.begun_at.desc()).limit(MINE)
        rows = [
            (run, row)
            for run, detail in session.execute(recent)
            for row in detail.table
            if row["site"] == name
        ]
        _, aliases = banks_by_product(session)
        open_ = (Alarm.site == name) & Alarm.seen_at.is_(None)
        alarms = list(session.scalars(select(Alarm).where(open_).order_by(Alarm.id).limit(MINE)))
    held = {p: a["production"] for p, a in aliases.items() if "production" in a}
    return page(request, "mine.html.j2", site=site, rows=rows, held=held, alarms=alarms)
