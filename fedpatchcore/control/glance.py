"""Everything at a glance: what the overview, a wall screen and the metrics show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from fedpatchcore.control.attention import Matter, certificate_matters, matters
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import (
    Alarm,
    Alias,
    BankVersion,
    Run,
    RunDetail,
    Schedule,
    Site,
)
from fedpatchcore.web.moments import now

__all__ = ["LISTED", "Glance", "banks_by_product", "glance"]

Row = TypeVar("Row")
LAST = 8
LISTED = 100  # rows of a table that are read at a glance
MATTERS = 12
ALARMS = 100
ONLINE = 15 * 60_000  # milliseconds since a site was last heard of


@dataclass(frozen=True)
class Glance:
    """What is there.

    Attributes:
        sites: with whether they are here; of more than `LISTED` those first that are away.
        count: of all sites; ``here`` of them were heard of just now.
        shown: the run in progress, with a row a site in ``table`` (``more`` are left out).
        banks: a row a product: what is in production and what waits.
        matters: what needs a person, the first of them; ``to_do`` counts all.
    """

    sites: list[tuple[Site, bool]]
    count: int
    here: int
    runs: list[Run]
    shown: Run | None
    table: list[dict[str, Any]]
    more: int
    banks: list[dict[str, Any]]
    matters: list[Matter]
    to_do: int

    @property
    def grave(self) -> bool:
        """Whether work stands still or a promise is at stake."""
        return any(one.grave for one in self.matters)


def glance(room: Room) -> Glance:
    """So many queries, however many sites, runs and banks there are."""
    with room.database.read() as session:
        sites = list(session.scalars(select(Site).order_by(Site.name)))
        runs = list(session.scalars(select(Run).order_by(Run.begun_at.desc()).limit(LAST)))
        going = [run for run in runs if run.state in ("running", "submitted")]
        detail = None
        if runs:
            newest = select(RunDetail).where(RunDetail.run_id == runs[0].id)
            some = load_only(RunDetail.settings, RunDetail.table)  # results may be long
            detail = session.scalars(newest.options(some)).first()
        banks, aliases = banks_by_product(session)
        unseen = select(Alarm).where(Alarm.seen_at.is_(None)).order_by(Alarm.id.desc())
        alarms = list(session.scalars(unseen.limit(ALARMS)))
        schedules = list(session.scalars(select(Schedule).where(Schedule.ended_at.is_(None))))
    shown = going[0] if going else None
    table = detail.table if shown is not None and detail and detail.run_id == shown.id else []
    told = [(site, online(site, going)) for site in sites]
    found = matters(sites, runs, detail, aliases, alarms, schedules)
    found = sorted([*found, *certificate_matters(room.certificates)], key=lambda one: not one.grave)
    return Glance(
        sites=_worst_first(told, lambda one: not one[1]),
        count=len(sites),
        here=sum(on for _, on in told),
        runs=runs,
        shown=shown,
        table=_worst_first(table, lambda row: row["bad"]),
        more=max(0, len(table) - LISTED),
        banks=banks,
        matters=found[:MATTERS],
        to_do=len(found),
    )


def _worst_first(rows: list[Row], bad: Callable[[Row], bool]) -> list[Row]:
    """As they are; of more than a page shows, those first that need looking at, and no more."""
    return rows if len(rows) <= LISTED else sorted(rows, key=lambda one: not bad(one))[:LISTED]


def online(site: Site, going: list[Run]) -> bool:
    """Heard of just now, or at work in a run that goes on."""
    bad = site.state.startswith(("LOST", "REJECTED", "GONE"))
    at_work = any(run.id == site.run_id for run in going) and not bad
    return at_work or now() - site.seen_at < ONLINE


def banks_by_product(session: Session) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
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
