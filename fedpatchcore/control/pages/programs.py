"""The same for programs, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import select

from fedpatchcore.control.asked import actor_of, form_of, room_of, within
from fedpatchcore.control.pages.banks import as_of
from fedpatchcore.control.tables import BankVersion, Run, RunDetail, Site
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter(prefix="/api")
MOST = 200


def _plain(row: object, *keys: str) -> dict[str, Any]:
    return {key: getattr(row, key) for key in keys}


RUN = ("id", "folder", "state", "headline", "begun_at", "told_at", "round", "rounds", "sites")
RUN = (*RUN, "wrong", "megabytes", "auroc", "seconds", "origin", "flower")


@router.get("/openapi.json")
def openapi(request: Request) -> dict[str, Any]:
    """What can be asked here, as OpenAPI."""
    return request.app.openapi()


@router.get("/sites")
def sites(request: Request) -> list[dict[str, Any]]:
    """All sites."""
    keys = ("name", "seen_at", "state", "products", "images", "device", "library", "judges")
    with room_of(request).database.read() as session:
        return [_plain(one, *keys) for one in session.scalars(select(Site).order_by(Site.name))]


@router.get("/runs")
def runs(request: Request, before: int = Query(2**53, ge=0, le=2**53)) -> list[dict[str, Any]]:
    """The last runs, newest first; ``before``: those with a smaller id."""
    some = select(Run).where(Run.id < before).order_by(Run.id.desc()).limit(MOST)
    with room_of(request).database.read() as session:
        return [_plain(one, *RUN) for one in session.scalars(some)]


@router.get("/runs/{run_id}")
def run(request: Request, run_id: int) -> dict[str, Any]:
    """One run with its settings, sites and results."""
    with room_of(request).database.read() as session:
        found = session.get(Run, within(run_id))
        detail = session.get(RunDetail, run_id) if found else None
    if found is None:
        raise Refused(404, f"there is no run {run_id}")
    more = _plain(detail, "settings", "table", "results", "notes") if detail else {}
    return _plain(found, *RUN) | more


@router.post("/runs", status_code=201)
def start(request: Request) -> dict[str, int]:
    """Start a run: settings as one flat object, ``run-name`` beside them."""
    told = dict(form_of(request))
    name, starter = told.pop("run-name", ""), room_of(request).starter
    return {"id": starter.start(actor_of(request), starter.settings(told), name)}


@router.get("/banks")
def banks(request: Request) -> list[dict[str, Any]]:
    """The last bank versions, newest first."""
    keys = ("id", "run_id", "digest", "size", "made_at", "round", "library", "fingerprint")
    keys = (*keys, "aggregation", "mechanism", "sites", "sections")
    some = select(BankVersion).order_by(BankVersion.id.desc()).limit(MOST)
    with room_of(request).database.read() as session:
        return [_plain(one, *keys) for one in session.scalars(some)]


@router.get("/history")
def history(
    request: Request,
    product: str = Query(max_length=300),
    site: str = Query(max_length=300),
    day: str = Query("", max_length=30),
) -> dict[str, Any]:
    """Which bank judged this product at this plant on this day."""
    room = room_of(request)
    with room.database.read() as session:
        return asdict(room.words.judged(session, product, site, as_of(day) if day else now()))
