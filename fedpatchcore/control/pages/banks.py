"""Banks: which is in production, which waits, what a release would change; who judged by what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import defer
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import actor_of, form_of, room_of, within
from fedpatchcore.control.beside import beside
from fedpatchcore.control.removing import remove, why_kept
from fedpatchcore.control.render import page
from fedpatchcore.control.tables import (
    Alias,
    BankVersion,
    Judging,
    Note,
    ProductRule,
    Release,
    RemovedBank,
    Run,
    Site,
)
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["as_of", "router"]

router = APIRouter()
LISTED = 100


@router.get("/banks")
def banks(request: Request) -> Response:
    """Versions, newest first, with what they are to each product."""
    with room_of(request).database.read() as session:
        found = session.execute(
            select(BankVersion, Run.folder)
            .join(Run, Run.id == BankVersion.run_id)
            .options(defer(BankVersion.results))
            .order_by(BankVersion.made_at.desc(), BankVersion.id.desc())
            .limit(LISTED)
        ).all()
        aliases = list(session.scalars(select(Alias).order_by(Alias.product)))
        releases = list(session.scalars(select(Release).order_by(Release.id.desc()).limit(20)))
        rules = {one.product: one.automatic for one in session.scalars(select(ProductRule))}
    return page(
        request,
        "banks.html.j2",
        banks=found,
        aliases=aliases,
        products=sorted({one.product for one in aliases}),
        releases=releases,
        rules=rules,
    )


@router.get("/banks/{version_id}")
def bank(request: Request, version_id: int, product: str = Query("", max_length=300)) -> Response:
    """One version: where it comes from, its gates, its notes."""
    room = room_of(request)
    with room.database.read() as session:
        version = session.get(BankVersion, within(version_id))
        if version is None:
            raise Refused(404, f"there is no bank {version_id}")
        run = session.get(Run, version.run_id)
        aliases = list(session.scalars(select(Alias).where(Alias.version_id == version_id)))
        notes = list(session.scalars(select(Note).where(Note.version_id == version_id)))
        products = [product] if product in version.sections else sorted(version.sections)
        gates = room.registry.gates(session, version, *products[:20])
        known = select(Alias).where(Alias.alias == "production")
        held = {one.product: one.version_id for one in session.scalars(known)}
        removed = session.get(RemovedBank, version_id)
        kept = why_kept(session, version_id)
    return page(
        request,
        "bank.html.j2",
        bank=version,
        run=run,
        aliases=aliases,
        notes=notes,
        gates=gates,
        held=held,
        removed=removed,
        kept=kept,
    )


@router.get("/banks/{version_id}/beside/{other_id}")
def compare(request: Request, version_id: int, other_id: int) -> Response:
    """What a bank changes over an earlier one: rows, whose rows, each site's figures."""
    room = room_of(request)
    with room.database.read() as session:
        found = [session.get(BankVersion, within(one)) for one in (version_id, other_id)]
    for one, number in zip(found, (version_id, other_id), strict=True):
        if one is None:
            raise Refused(404, f"there is no bank {number}")
    told = beside(room.registry, *found)
    return page(request, "beside.html.j2", one=found[0], other=found[1], told=told)


@router.post("/banks/{version_id}/release")
def release(request: Request, version_id: int) -> Response:
    """Put it in production for a product."""
    form, room = form_of(request), room_of(request)
    product, note = form.text("product", 300), form.text("note", 1000)
    anyway = form.get("anyway") == "yes"
    room.registry.release(actor_of(request), within(version_id), product, note, anyway=anyway)
    room.mirror.changed()
    return RedirectResponse(f"/banks/{version_id}", 303)


@router.post("/products/back")
def back(request: Request) -> Response:
    """Put the version before in production again."""
    form, room = form_of(request), room_of(request)
    version = room.registry.back(
        actor_of(request), form.text("product", 300), form.text("note", 1000)
    )
    room.mirror.changed()
    return RedirectResponse(f"/banks/{version}", 303)


@router.post("/products/automatic")
def automatic(request: Request) -> Response:
    """Whether a product's new bank is released by itself once all gates are passed."""
    form = form_of(request)
    on = form.text("automatic", 3) == "yes"
    room_of(request).registry.automatic(actor_of(request), form.text("product", 300), on)
    return RedirectResponse("/banks", 303)


@router.post("/banks/{version_id}/remove")
def take_away(request: Request, version_id: int) -> Response:
    """Remove its bytes, where no audit may ask for them."""
    why = form_of(request).text("why", 1000)
    remove(room_of(request).registry, actor_of(request), within(version_id), why)
    return RedirectResponse(f"/banks/{version_id}", 303)


@router.post("/banks/{version_id}/note")
def note(request: Request, version_id: int) -> Response:
    """A person's words on it."""
    text = form_of(request).text("text", 1000)
    if not text:
        raise Refused(400, "a note has words")
    room_of(request).registry.note(actor_of(request), within(version_id), text)
    return RedirectResponse(f"/banks/{version_id}", 303)


@router.get("/history")
def history(
    request: Request,
    product: str = Query("", max_length=300),
    site: str = Query("", max_length=300),
    day: str = Query("", max_length=30),
) -> Response:
    """Which bank judged this product at this plant on this day?"""
    room = room_of(request)
    at = as_of(day) if day else now()
    with room.database.read() as session:
        answer = room.words.judged(session, product, site, at) if product and site else None
        sites = list(session.scalars(select(Site.name).order_by(Site.name)))
        products = sorted(set(session.scalars(select(Alias.product))))
        words = select(Judging).order_by(Judging.since.desc(), Judging.id.desc()).limit(50)
        if product:
            words = words.where(Judging.product == product)
        if site:
            words = words.where(Judging.site == site)
        changes = list(session.scalars(words))
    return page(
        request,
        "history.html.j2",
        answer=answer,
        sites=sites,
        products=products,
        product=product,
        site=site,
        day=day,
        at=at,
        changes=changes,
    )


def as_of(day: str) -> int:
    """The end of a day (UTC), or a moment, in milliseconds since 1970. Raises Refused."""
    try:
        moment = datetime.fromisoformat(day)
    except ValueError:
        raise Refused(400, "day: as 2026-01-31, or 2026-01-31T14:30") from None
    if len(day) == 10:
        moment += timedelta(days=1) - timedelta(milliseconds=1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not 1970 < moment.year < 9000:
        raise Refused(400, "day: of this age")
    return round(moment.timestamp() * 1000)
