"""The station watches itself: judged parts run through charts; what they set off is told once.

An alarm stays until a person has seen to it: it is mended, or it is as it should be from now on,
and then a new reference is gathered. While it stands, further charts that signal are added to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from fedpatchcore.drift.watch import FIGURES, LOOKS, Part, Rules, Signal, Watch
from fedpatchcore.errors import FedPatchCoreError, StationError
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Alarm, Inspection, WatchRow
from fedpatchcore.station.why import Own
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now

__all__ = ["HOW", "Drift"]

EVERY = 1.0  # seconds
BATCH = 200
ENDED = 20  # watches of a product that are kept after another bank took over
PICTURES = 3  # of the training images that stand beside an alarm
HOW = ("mended", "usual")
SYSTEM = Actor("station")
STOPPED = {"ok": False, "defect": True}


class Drift:
    """The watch of one station.

    Args:
        bench: the one in use.
        own: what was learnt of the training images of a product for a bench.

    Attributes:
        trouble: why it does not look just now; empty: it does.
    """

    def __init__(
        self,
        place: Place,
        settings: StationSettings,
        bench: Callable[[], Bench | None],
        own: Callable[[Bench, str], Own | None],
    ) -> None:
        self.place, self.settings = place, settings
        self.trouble = ""
        self._bench, self._own = bench, own
        self._lock = threading.Lock()
        self._rules = Rules(
            settings.drift_reference, settings.drift_group, settings.drift_k, settings.drift_h
        )

    def run(self, stop: threading.Event) -> None:
        """Look each second until told to stop."""
        while not stop.is_set():
            try:
                self.look()
                self.trouble = ""
            except FedPatchCoreError as error:
                self.trouble = one_line(error, 300)
            stop.wait(EVERY)

    def look(self) -> int:
        """Take what was judged since → how many parts."""
        seen = 0
        while self._waits():
            with self._lock:
                taken, told = self._batch()
            seen += taken
            if told:
                self.place.trail.note_head()
                self.place.changed()
        return seen

    def _waits(self) -> bool:
        with self.place.database.read() as session:
            return session.scalar(_fresh(select(Inspection.id)).limit(1)) is not None

    def _batch(self) -> tuple[int, bool]:
        """The next parts, charts and alarms in one transaction: each part counts once."""
        told = False
        with self.place.database.write() as session:
            query = _fresh(select(Inspection)).order_by(Inspection.judged_at, Inspection.id)
            rows = list(session.scalars(query.limit(BATCH)))
            open_: dict[str, tuple[WatchRow, Watch]] = {}
            for one in rows:
                row, watch = open_.get(one.product) or (None, None)
                if row is None or _key(row) != _key(one):
                    if row is not None:
                        row.state = watch.told()
                    row, watch = self._of(session, one)
                    open_[one.product] = row, watch
                row.parts += 1
                for signal in watch.take(_part(one)):
                    told |= self._tell(session, row, watch, signal)
            for row, watch in open_.values():
                row.state = watch.told()
            numbers = [one.id for one in rows]
            session.execute(update(Inspection).where(Inspection.id.in_(numbers)).values(watched=1))
        return len(rows), told

    # -- watches ----------------------------------------------------------------------

    def _of(self, session: Session, one: Inspection) -> tuple[WatchRow, Watch]:
        """The open watch of a part; a new one where another bank, or another threshold, judged."""
        mine = (WatchRow.product == one.product) & WatchRow.ended_at.is_(None)
        row = session.scalars(select(WatchRow).where(mine)).first()
        watch = _read(row)
        if row is not None and (watch is None or _key(row) != _key(one)):
            row.ended_at = now()
            before = None if watch is None else watch.rate or watch.before
            row, watch = None, None
        else:
            before = None
        bench = self._bench()
        bench = bench if bench is not None and bench.digest == one.bank else None
        if row is None or watch is None:
            promised = (
                bench.promised(one.product) if bench is not None and not one.threshold_by else None
            )
            watch = Watch(self._rules, promised, before)
            row = _begun(session, one, watch)
        if bench is not None and (own := self._own(bench, one.product)) is not None:
            watch.learn_looks({name: [getattr(it, name) for it in own.looks] for name in LOOKS})
        return row, watch

    def watches(self) -> list[tuple[WatchRow, Watch]]:
        """Those that go on, by product."""
        with self.place.database.read() as session:
            query = select(WatchRow).where(WatchRow.ended_at.is_(None)).order_by(WatchRow.product)
            found = [(row, _read(row)) for row in session.scalars(query)]
        return [(row, watch) for row, watch in found if watch is not None]

    # -- alarms -----------------------------------------------------------------------

    def _tell(self, session: Session, row: WatchRow, watch: Watch, signal: Signal) -> bool:
        """Begin an alarm, or add the chart to the one that stands → whether anything is new."""
        mine = (Alarm.watch_id == row.id) & Alarm.ended_at.is_(None)
        stands = session.scalars(select(Alarm).where(mine)).first()
        told = signal.told() | {"at": now()}
        if stands is not None:
            known = stands.told["charts"]
            if any(one["chart"] == signal.chart for one in known):
                return False
            stands.told = stands.told | {"charts": [*known, told]}
            return True
        bench = self._bench()
        own = self._own(bench, row.product) if bench and bench.digest == row.bank else None
        alarm = Alarm(
            product=row.product,
            kind=signal.chart,
            cause=signal.cause,
            begun_at=now(),
            first_id=signal.since,
            watch_id=row.id,
            told={
                "charts": [told],
                "usual": watch.usual_parts[:6],
                "training": _some(own.files) if own else [],
            },
        )
        session.add(alarm)
        session.flush()
        after = {"product": row.product, "chart": signal.chart, "cause": signal.cause}
        self.place.trail.add(session, SYSTEM, "drift.alarm", f"{alarm.id}", after=after)
        return True

    def alarms(self, *, ended: bool = False, most: int = 50) -> list[Alarm]:
        """Those that nobody has seen to, the first first; or the last ones that somebody has."""
        with self.place.database.read() as session:
            query = select(Alarm).limit(most)
            if ended:
                query = query.where(Alarm.ended_at.is_not(None)).order_by(Alarm.ended_at.desc())
            else:
                query = query.where(Alarm.ended_at.is_(None)).order_by(Alarm.id)
            return list(session.scalars(query))

    def standing(self) -> int:
        """How many nobody has seen to."""
        with self.place.database.read() as session:
            found = select(func.count()).select_from(Alarm).where(Alarm.ended_at.is_(None))
            return session.scalar(found) or 0

    def see(self, actor: Actor, number: int, how: str, note: str = "") -> None:
        """A person has seen to an alarm.

        Args:
            how: "mended": the charts begin at nothing, the reference stays; "usual": it is as it
                should be from now on, and a new reference is gathered.

        Raises:
            StationError: no such word, or no such alarm that stands.
        """
        if how not in HOW:
            raise StationError(f"an alarm is ended by one of {', '.join(HOW)}")
        with self._lock:
            with self.place.database.write() as session:
                alarm = session.get(Alarm, number)
                if alarm is None or alarm.ended_at is not None:
                    raise StationError(f"no alarm {number} stands that somebody could see to")
                alarm.ended_at, alarm.ended_by = now(), actor.name
                alarm.ended_how, alarm.note = how, note[:1000]
                row = session.get(WatchRow, alarm.watch_id)
                if row is not None and row.ended_at is None:
                    self._begin_again(session, row, how)
                self.place.trail.add(
                    session, actor, "drift.seen", f"{number}", before=alarm.cause, after=how
                )
            self.place.trail.note_head()
        self.place.changed()

    def _begin_again(self, session: Session, row: WatchRow, how: str) -> None:
        watch = _read(row) or Watch(self._rules)
        if how == "mended":
            watch.restart()
            row.state = watch.told()
            return
        row.ended_at = now()
        _begun(session, row, Watch(self._rules))


def _fresh(query: Any) -> Any:
    return query.where(Inspection.watched == 0, Inspection.state == "judged")


def _key(one: Inspection | WatchRow) -> tuple:
    return one.bank, one.own, one.judged_by, one.threshold


def _part(one: Inspection) -> Part:
    told = {name: getattr(one, name) for name in FIGURES}
    figures = {name: value for name, value in told.items() if value is not None}
    return Part(one.id, STOPPED.get(one.verdict), figures)


def _read(row: WatchRow | None) -> Watch | None:
    """None for none, and for one that this version cannot read: another begins then."""
    try:
        return None if row is None else Watch.of(row.state)
    except (KeyError, TypeError, ValueError):
        return None


def _begun(session: Session, like: Inspection | WatchRow, watch: Watch) -> WatchRow:
    row = WatchRow(
        product=like.product,
        bank=like.bank,
        own=like.own,
        judged_by=like.judged_by,
        threshold=like.threshold,
        begun_at=now(),
        parts=0,
        state=watch.told(),
    )
    session.add(row)
    session.flush()
    ended = (WatchRow.product == like.product) & WatchRow.ended_at.is_not(None)
    old = select(WatchRow.id).where(ended).order_by(WatchRow.id.desc()).offset(ENDED)
    session.execute(delete(WatchRow).where(WatchRow.id.in_(old.limit(BATCH))))
    return row


def _some(files: Sequence[Path]) -> list[str]:
    step = max(1, len(files) // PICTURES)
    return [str(one) for one in files[::step][:PICTURES]]
