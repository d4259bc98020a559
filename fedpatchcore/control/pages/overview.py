"""Who is there, what runs, which bank judges, what needs a person; and one site's own page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session, load_only
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import caller_of, room_of
from fedpatchcore.control.attention import matters
from fedpatchcore.control.render import page
from fedpatchcore.control.tables import Alias, BankVersion, Run, RunDetail, Site
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
Row = TypeVar("Row")
LAST = 8
LISTED = 100  # rows of a table that are read at a glance
ONLINE = 15 * 60_000  # milliseconds since a site was last heard of
MINE = 50  # runs that a site's own page looks through


@router.get("/")
def entry(request: Request) -> Response:
    """The page that a person begins with."""
    own = caller_of(request).role == "site"
    return RedirectResponse("/mine" if own else "/overview", 303)


@router.get("/overview")
def overview(request: Request) -> Response:
    """Everything at a glance."""
    with room_of(request).database.read() as session:
        sites = list(session.scalars(select(Site).order_by(Site.name)))
        runs = list(session.scalars(select(Run).order_by(Run.begun_at.desc()).limit(LAST)))
        going = [run for run in runs if run.state in ("running", "submitted")]
        newest = select(RunDetail).where(RunDetail.run_id == runs[0].id) if runs else None
        some = load_only(RunDetail.settings, RunDetail.table)  # results may be long
        detail = session.scalars(newest.options(some)).first() if runs else None
        banks, aliases = _banks(session)
    shown = going[0] if going else None
    table = detail.table if shown is not None and detail and detail.run_id == shown.id else []
    told = [(site, online(site, going)) for site in sites]
    return page(
        request,
        "overview.html.j2",
        sites=_worst_first(told, lambda one: not one[1]),
        count=len(sites),
        runs=runs,
        shown=shown,
        table=_worst_first(table, lambda row: row["bad"]),
        more=max(0, len(table) - LISTED),
        banks=banks,
        matters=matters(sites, runs, detail, aliases),
        here=sum(on for _, on in told),
    )


def _worst_first(rows: list[Row], bad: Callable[[Row], bool]) -> list[Row]:
    """As they are; of more than a page shows, those first that need looking at, and no more."""
    return rows if len(rows) <= LISTED else sorted(rows, key=lambda one: not bad(one))[:LISTED]


def online(site: Site, going: list[Run]) -> bool:
    """Heard of just now, or at work in a run that goes on."""
    bad = site.state.startswith(("LOST", "REJECTED", "GONE"))
    at_work = any(run.id == site.run_id for run in going) and not bad
    return at_work or now() - site.seen_at < ONLINE


def _banks(session: Session) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Banks in production and waiting, a row a product; and the aliases by product."""
    told = session.execute(
        select(Alias.product, Alias.alias, Alias.version_id, BankVersion.made_at, Run.folder)
        .join(BankVersion, BankVersion.id == Alias.version_id)
        .join(Run, Run.id == BankVersion.run_id)
        .order_by(Alias.product)
    )
    rows: dict[str, dict[str, Any]] = {}
    aliases: dict[str, dict[str, int]] = {}
    for row in told:
        mine = rows.setdefault(row.product, {"product": row.product, "production": None})
        mine.setdefault("candidate", None)
        mine[row.alias] = row
        aliases.setdefault(row.product, {})[row.alias] = row.version_id
    return list(rows.values()), aliases


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
        _, aliases = _banks(session)
    held = {p: a["production"] for p, a in aliases.items() if "production" in a}
    return page(request, "mine.html.j2", site=site, rows=rows, held=held)
