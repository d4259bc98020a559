"""Thresholds that people chose in place of the bank's: by a proposal, with a reason, and back.

One is of a product and of the banks that judge it: another bank brings its own again, and this one
decides again once its bank does. Nothing changes by itself, and whatever changes is in the trail.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from fedpatchcore.errors import BankError, ConfigError, StationError
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Place
from fedpatchcore.station.proposals import Proposal, Told, proposed
from fedpatchcore.station.tables import Alarm, BankUse, Chosen, Inspection
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.moments import now

__all__ = ["Limit", "Thresholds", "chosen_for", "left_behind"]

CLEAR = ({"defect"}, {"good"})  # what people said of one picture, if they agree


@dataclass(frozen=True)
class Limit:
    """What decides on one product.

    Attributes:
        value: in use; NaN if there is none.
        banks: that the banks bring.
        chosen: by which a person chose it; None: nobody did.
        since: what people's words say of it since then: false alarms of stopped parts, misses of
            passed parts, each of those looked at.
        elsewhere: the last one that was chosen for a bank that does not judge now; None where
            somebody chose one for this bank, or nobody one for any.
        proposals, why: of `proposed`; "drift" where an alarm stands.
        told: by what they were made.
    """

    product: str
    value: float
    banks: float
    chosen: Chosen | None = None
    since: tuple[Rate, Rate] | None = None
    elsewhere: Chosen | None = None
    proposals: Sequence[Proposal] = ()
    why: Sequence[str] = ()
    told: Told = field(default_factory=lambda: Told(math.nan, (), ()))


class Thresholds:
    """Those of one station.

    Args:
        bench: that judges.
    """

    def __init__(self, place: Place, bench: Callable[[], Bench | None]) -> None:
        self.place, self._bench = place, bench
        self._lock = threading.Lock()

    def of(self, bench: Bench, product: str) -> tuple[float | None, str]:
        """What decides in place of the banks' threshold, and its name; (None, "") if nothing."""
        with self.place.database.read() as session:
            found = _in_force(session, bench, product)
        return (found.value, found.name) if found else (None, "")

    def in_force(self) -> list[Chosen]:
        """Those by which parts are judged now, by product."""
        bench = self._bench()
        return [] if bench is None else chosen_for(self.place, *_key(bench))

    def limits(self) -> list[Limit]:
        """Of each product of which people said something, or for which one was chosen."""
        bench = self._bench()
        if bench is None:
            return []
        with self.place.database.read() as session:
            spoken = select(Inspection.product).where(
                Inspection.verdict.in_(("ok", "defect")), Inspection.said != ""
            )
            names = set(session.scalars(spoken.distinct()))
            standing = select(Chosen.product).where(Chosen.ended_at.is_(None))
            names |= set(session.scalars(standing.distinct()))
            found = [_limit(session, bench, name) for name in sorted(names)]
        return [one for one in found if one is not None]

    def accept(self, actor: Actor, product: str, kind: str, value: str, why: str) -> None:
        """Judge a product by a proposal from the next image on.

        Args:
            value: of the proposal that this person saw, as the page told it.

        Raises:
            StationError: no reason is told, or this is not what is proposed now.
        """
        if not why.strip():
            raise StationError("say why another threshold is better")
        bench = self._bench()
        if bench is None:
            raise StationError("there is no bank to judge by")
        with self._lock:
            with self.place.database.write() as session:
                limit = _limit(session, bench, product)
                made = limit.proposals if limit else ()
                found = next(
                    (one for one in made if (one.kind, repr(one.value)) == (kind, value)), None
                )
                if found is None or limit is None:
                    raise StationError(
                        "this is not what is proposed now: words or parts came in between, look "
                        "again"
                    )
                told = {"kind": kind, "alarms": found.alarms.told()}
                told |= {"defects": found.defects.told()}
                row = Chosen(product=product, value=found.value, before=limit.value, told=told)
                row.bank, row.own, row.judged_by = _key(bench)
                row.at, row.who, row.why = now(), actor.name, why
                session.add(row)
                session.flush()
                after = {"value": row.value, "why": why, "number": row.id, **told}
                self.place.trail.add(
                    session, actor, "threshold.chosen", product, limit.value, after
                )
            self.place.trail.note_head()
        self.place.changed()

    def back(self, actor: Actor, product: str) -> None:
        """Judge by the threshold before again, from the next image on.

        Raises:
            StationError: nobody chose another one for the bank that judges.
        """
        bench = self._bench()
        with self._lock:
            with self.place.database.write() as session:
                row = _in_force(session, bench, product) if bench else None
                if row is None:
                    raise StationError("the bank's own threshold decides already")
                row.ended_at, row.ended_by = now(), actor.name
                session.flush()
                limit = _limit(session, bench, product)
                after = limit.value if limit else None
                self.place.trail.add(session, actor, "threshold.back", product, row.value, after)
            self.place.trail.note_head()
        self.place.changed()


def chosen_for(place: Place, bank: str, own: str, judged_by: str) -> list[Chosen]:
    """The thresholds that people chose and by which these banks judge, by product."""
    with place.database.read() as session:
        return _chosen_for(session, bank, own, judged_by)


def left_behind(session: Session, trail: Trail, actor: Actor, last: BankUse, bank: str) -> None:
    """Another bank takes over: note in the trail which thresholds decide no longer."""
    for one in _chosen_for(session, last.digest, last.own, last.judged_by):
        after = {"bank": bank}
        trail.add(session, actor, "threshold.left", one.product, one.value, after)


def _chosen_for(session: Session, *key: str) -> list[Chosen]:
    mine = (*_of(Chosen, *key), Chosen.ended_at.is_(None))
    rows = session.scalars(select(Chosen).where(*mine).order_by(Chosen.id))
    last = {one.product: one for one in rows}
    return [last[product] for product in sorted(last)]


def _key(bench: Bench) -> tuple[str, str, str]:
    return bench.digest, bench.own_digest, bench.settings.judge_by


def _of(kind: Any, bank: str, own: str, judged_by: str) -> tuple[ColumnElement[bool], ...]:
    """Rows of what these banks judge."""
    return kind.bank == bank, kind.own == own, kind.judged_by == judged_by


def _in_force(session: Session, bench: Bench, product: str) -> Chosen | None:
    mine = (*_of(Chosen, *_key(bench)), Chosen.product == product, Chosen.ended_at.is_(None))
    return session.scalars(select(Chosen).where(*mine).order_by(Chosen.id.desc()).limit(1)).first()


def _limit(session: Session, bench: Bench, product: str) -> Limit | None:
    """None of a product that the bank does not know."""
    try:
        banks = bench.limit(product)
    except (BankError, ConfigError):
        return None
    chosen = _in_force(session, bench, product)
    value = chosen.value if chosen else banks
    if not math.isfinite(value):
        return Limit(product, value, banks)
    told = _told(session, bench, product, value)
    alarm = (Alarm.product == product) & Alarm.ended_at.is_(None)
    if session.scalar(select(Alarm.id).where(alarm).limit(1)) is not None:
        made: tuple[list[Proposal], list[str]] = [], ["drift"]
    else:
        made = proposed(told)
    since = elsewhere = None
    if chosen:
        since = _since(session, chosen)
    else:
        others = (Chosen.product == product) & Chosen.ended_at.is_(None)
        last = select(Chosen).where(others).order_by(Chosen.id.desc()).limit(1)
        elsewhere = session.scalars(last).first()
    return Limit(product, value, banks, chosen, since, elsewhere, *made, told)


def _told(session: Session, bench: Bench, product: str, limit: float) -> Told:
    mine = (*_of(Inspection, *_key(bench)), Inspection.product == product)
    mine += (Inspection.state == "judged", Inspection.score.is_not(None))
    rows = session.execute(
        select(Inspection.digest, Inspection.score, Inspection.said)
        .where(*mine, Inspection.verdict.in_(("ok", "defect")))
        .where(Inspection.said.in_(("defect", "good", "unsure")))
    ).all()
    words: dict[str, tuple[float, set[str]]] = {}
    for digest, score, said in rows:  # the same picture under two names is one part
        if math.isfinite(score):
            words.setdefault(digest, (score, set()))[1].add(said)
    agreed = [(score, said) for score, said in words.values() if len(said) == 1]
    odd = [score for score, said in words.values() if score > limit and said not in CLEAR]
    waits = (*mine, Inspection.score > limit, Inspection.said == "")
    least, count = session.execute(
        select(func.min(Inspection.score), func.count()).where(*waits)
    ).one()
    passed = (*mine, Inspection.score <= limit)
    number = session.scalar(select(func.count()).select_from(Inspection).where(*passed)) or 0
    top: list[float] = []
    if any(said == {"defect"} and score <= limit for score, said in words.values()):
        high = select(Inspection.score).where(*passed).order_by(Inspection.score.desc())
        top = list(session.scalars(high.limit(Told.reach(number))))
    return Told(
        limit,
        [score for score, said in agreed if said == {"defect"}],
        [score for score, said in agreed if said == {"good"}],
        min([math.inf if least is None else least, *odd]),
        count + len(odd),
        top,
        number,
    )


def _since(session: Session, chosen: Chosen) -> tuple[Rate, Rate]:
    mine = (Inspection.product == chosen.product, Inspection.threshold_by == chosen.name)
    rows = session.execute(
        select(Inspection.verdict, Inspection.said, func.count())
        .where(*mine, Inspection.verdict.in_(("ok", "defect")))
        .where(Inspection.said.in_(("good", "defect")))
        .group_by(Inspection.verdict, Inspection.said)
    ).all()
    told = {(verdict, said): count for verdict, said, count in rows}
    stopped = [told.get(("defect", one), 0) for one in ("good", "defect")]
    passed = [told.get(("ok", one), 0) for one in ("defect", "good")]
    return Rate(stopped[0], sum(stopped)), Rate(passed[0], sum(passed))
