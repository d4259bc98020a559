"""What sites and their stations ask and say by a key of their own: banks, judging, alarms."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import FileResponse, Response

from fedpatchcore.control.asked import actor_of, caller_of, form_of, room_of
from fedpatchcore.control.tables import Alias, BankVersion, Site
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter(prefix="/api")
MOST_IMAGES = 10**9


@router.get("/products")
def products(request: Request) -> list[dict[str, Any]]:
    """What is in production; to a site's key only the products that this site makes."""
    caller = caller_of(request)
    with room_of(request).database.read() as session:
        told = session.execute(
            select(Alias.product, BankVersion.id, BankVersion.digest)
            .join(BankVersion, BankVersion.id == Alias.version_id)
            .where(Alias.alias == "production")
            .order_by(Alias.product)
        ).all()
        site = session.get(Site, caller.site) if caller.site else None
    own = set(site.products) if site is not None else None
    return [
        {"product": row.product, "version": row.id, "digest": row.digest}
        for row in told
        if own is None or row.product in own
    ]


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
        room.counts.pulled("unchanged")
        return Response(status_code=304, headers=headers)
    file = room.registry.file(held.digest)
    if not file.is_file():
        room.counts.pulled("gone")
        raise Refused(503, f"the bytes of bank {held.id} are gone from {file.parent}")
    room.counts.pulled("sent")
    return FileResponse(file, media_type="application/octet-stream", headers=headers)


def _site(request: Request) -> str:
    """The site that a key speaks for, which a form may name as well. Raises Refused."""
    form, caller = form_of(request), caller_of(request)
    if not caller.site:
        raise Refused(403, "this takes a site's own key")
    site = form.text("site", 300) or caller.site
    if site != caller.site:
        raise Refused(403, f"this key speaks for {caller.site} alone")
    return site


@router.post("/judging")
def judging(request: Request) -> dict[str, int]:
    """A site says that it judges a product by this bank from now on."""
    site, form, room = _site(request), form_of(request), room_of(request)
    product, digest = form.text("product", 300), form.text("digest", 64)
    version = room.words.take(actor_of(request), site, product, digest)
    room.mirror.changed()
    return {"version": version}


@router.post("/alarms", status_code=201)
def alarm(request: Request) -> dict[str, int]:
    """A site says that something needs a person: ``kind`` (drift, …), ``words``, ``product``."""
    site, form, room = _site(request), form_of(request), room_of(request)
    kind, words, product = form.text("kind", 40), form.text("words", 1000), form.text("product")
    number = room.alarms.take(actor_of(request), site, product, kind, words)
    room.mirror.changed()
    return {"id": number}


@router.post("/images")
def images(request: Request) -> dict[str, int]:
    """A site says how many training images it has by now, which schedules may wait for."""
    site, count, room = _site(request), form_of(request).number("images"), room_of(request)
    if count > MOST_IMAGES:
        raise Refused(400, f"images: at most {MOST_IMAGES}")
    with room.database.write() as session:
        row = session.get(Site, site)
        if row is None:
            raise Refused(400, f"no site {site!r} has answered a roll call here")
        row.images, row.seen_at = count, now()
    room.mirror.changed()
    return {"images": count}
