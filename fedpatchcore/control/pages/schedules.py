"""Runs that start by themselves: what is due when, what came of it, and a form for another."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.config import RunConfig
from fedpatchcore.control.asked import actor_of, form_of, room_of, within
from fedpatchcore.control.render import page
from fedpatchcore.control.starting import OURS
from fedpatchcore.control.tables import Preset, RunDetail, Schedule
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.web.refusals import Refused, status_of

__all__ = ["router"]

router = APIRouter()


@router.get("/schedules")
def schedules(request: Request) -> Response:
    """All that have not ended."""
    return _page(request)


@router.post("/schedules")
def make(request: Request) -> Response:
    """A new one, with the settings of a preset, of a run (``like``), or the defaults."""
    form, room = form_of(request), room_of(request)
    try:
        settings = _settings(request)
        images = form.number("images") if form.text("images") else 0
        name, cron = form.text("name"), " ".join(form.text("cron").split())
        room.schedules.add(actor_of(request), name, settings, cron, images)
    except FedPatchCoreError as error:
        if "authorization" in request.headers:
            raise
        return _page(request, status_of(error), str(error))
    return RedirectResponse("/schedules", 303)


def _settings(request: Request) -> dict[str, object]:
    form = form_of(request)
    preset = form.text("preset")
    with room_of(request).database.read() as session:
        if preset:
            found = session.get(Preset, preset)
            if found is None:
                raise Refused(404, f"there is no preset {preset!r}")
            return dict(found.settings)
        if not form.text("like"):
            return {}
        detail = session.get(RunDetail, form.number("like"))
        if detail is None:
            raise Refused(404, f"there is no run {form.text('like')}")
    known = RunConfig().table()
    told = detail.settings.items()
    return {k: v for k, v in told if k in known and v != known[k] and k not in OURS}


@router.post("/schedules/{schedule_id}/end")
def end(request: Request, schedule_id: int) -> Response:
    """It starts nothing any more."""
    room_of(request).schedules.end(actor_of(request), within(schedule_id))
    return RedirectResponse("/schedules", 303)


def _page(request: Request, status: int = 200, wrong: str = "") -> Response:
    with room_of(request).database.read() as session:
        going = select(Schedule).where(Schedule.ended_at.is_(None)).order_by(Schedule.name)
        found = list(session.scalars(going))
        presets = list(session.scalars(select(Preset.name).order_by(Preset.name)))
    told = dict(form_of(request)) if status != 200 else {}
    return page(
        request,
        "schedules.html.j2",
        status,
        schedules=found,
        presets=presets,
        wrong=wrong,
        told=told,
    )
