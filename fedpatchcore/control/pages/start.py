"""The form that starts a run: every setting by room, with what it means and may be."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.config import RunConfig
from fedpatchcore.control.asked import actor_of, form_of, room_of
from fedpatchcore.control.fields import groups
from fedpatchcore.control.render import page
from fedpatchcore.control.starting import OURS
from fedpatchcore.control.tables import Preset, RunDetail
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.texts import is_name
from fedpatchcore.web.refusals import Refused, status_of

__all__ = ["router"]

router = APIRouter()


@router.get("/start")
def form(
    request: Request,
    like: int | None = Query(None, ge=1, le=2**53),
    preset: str = Query("", max_length=100),
) -> Response:
    """The form with the defaults, with the settings of a run, or with a preset."""
    values: dict[str, Any] = {}
    with room_of(request).database.read() as session:
        if like is not None:
            detail = session.get(RunDetail, like)
            if detail is None:
                raise Refused(404, f"there is no run {like}")
            values = detail.settings
        elif preset:
            found = session.get(Preset, preset)
            if found is None:
                raise Refused(404, f"there is no preset {preset!r}")
            values = found.settings
    return _page(request, values, of=preset)


@router.post("/start")
def start(request: Request) -> Response:
    """Start it, or keep the settings as a preset; what is wrong is told above the form."""
    room, told = room_of(request), dict(form_of(request))
    name, preset = told.pop("run-name", "").strip(), told.pop("preset", "").strip()
    only_keep = told.pop("keep", "") == "yes"
    try:
        settings = room.starter.settings(told)
        if only_keep:
            if not is_name(preset, 100):
                raise Refused(400, "a preset takes a name")
            room.starter.save_preset(actor_of(request), preset, settings)
            return RedirectResponse("/start", 303)
        run_id = room.starter.start(actor_of(request), settings, name)
    except FedPatchCoreError as error:
        return _page(request, told, status_of(error), wrong=str(error), name=name)
    room.mirror.changed()
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/presets/{name}/remove")
def remove(request: Request, name: str) -> Response:
    """Forget settings that were kept."""
    room_of(request).starter.remove_preset(actor_of(request), name)
    return RedirectResponse("/start", 303)


def _page(
    request: Request,
    values: dict[str, Any],
    status: int = 200,
    wrong: str = "",
    name: str = "",
    of: str = "",
) -> Response:
    with room_of(request).database.read() as session:
        presets = list(session.scalars(select(Preset.name).order_by(Preset.name)))
    known = RunConfig().table()
    shown = {k: v for k, v in values.items() if k in known and k not in OURS}
    return page(
        request,
        "start.html.j2",
        status,
        groups=groups(shown),
        presets=presets,
        wrong=wrong,
        name=name,
        preset=of,
    )
