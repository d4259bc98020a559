"""The same for programs, as JSON; and the released bank, which sites pull."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import FileResponse, Response

from fedpatchcore.control.asked import actor_of, caller_of, form_of, room_of
from fedpatchcore.control.pages.banks import as_of
from fedpatchcore.control.tables import Alias, BankVersion, Run, RunDetail, Site
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
        found = session.get(Run, run_id) if abs(run_id) < 2**62 else None
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


@router.get("/products/{product}/bank")
def pull(request: Request, product: str) -> Response:
    """The bank in production for a product; 304 for whoever names its ETag."""
    room = room_of(request)
    with room.database.read() as session:
        held = session.execute(
            select(BankVersion.digest, BankVersion.id)
            .join(Alias, Alias.version_id == BankVersion.id)
            .where(Alias.product == product, Alias.alias == "production")
        ).first()
    if held is None:
        raise Refused(404, f"no bank is in production for {product!r}")
    tag = f'"{held.digest}"'
    headers = {"etag": tag, "x-bank-version": str(held.id)}
    headers["x-bank-signature"] = room.signer.sign(product, held.digest)
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    file = room.registry.file(held.digest)
    if not file.is_file():
        raise Refused(503, f"the bytes of bank {held.id} are gone from {file.parent}")
    return FileResponse(file, media_type="application/octet-stream", headers=headers)


@router.post("/judging")
def judging(request: Request) -> dict[str, int]:
    """A site says that it judges a product by this bank from now on."""
    form, caller = form_of(request), caller_of(request)
    if not caller.site:
        raise Refused(403, "this takes a site's own key")
    site = form.text("site", 300) or caller.site
    if site != caller.site:
        raise Refused(403, f"this key speaks for {caller.site} alone")
    room = room_of(request)
    product, digest = form.text("product", 300), form.text("digest", 64)
    version = room.words.take(actor_of(request), site, product, digest)
    room.mirror.changed()
    return {"version": version}
