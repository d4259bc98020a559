"""What people say of parts, and what follows from it: the real rates, with intervals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from fedpatchcore.errors import StationError
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.station.place import Place
from fedpatchcore.station.tables import Inspection, Word
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now

__all__ = ["SAYINGS", "Real", "Words"]

SAYINGS = ("defect", "good", "unsure")


@dataclass(frozen=True)
class Real:
    """What people's words say of one product's verdicts.

    Attributes:
        false_alarms: stopped parts that are good, of those stopped and looked at.
        missed: passed parts that are defective, of those passed and looked at, whoever chose them.
        drawn: passed parts that are defective, of those that were drawn by lot and looked at
            (`checks.py`): what is true of passed parts as such.
        to_check: drawn parts on which nobody said a word yet.
        drawn_unsure: drawn parts of which a person was unsure: neither among the one nor the other.
    """

    product: str
    false_alarms: Rate
    missed: Rate
    drawn: Rate
    to_check: int
    drawn_unsure: int
    unsure: int

    def told(self) -> dict[str, Any]:
        """As programs are told."""
        return {
            "product": self.product,
            "false_alarms": self.false_alarms.told(),
            "missed": self.missed.told(),
            "missed_of_drawn": self.drawn.told(),
            "drawn_to_check": self.to_check,
            "drawn_unsure": self.drawn_unsure,
            "unsure": self.unsure,
        }


class Words:
    """People's words at one station."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def say(self, actor: Actor, number: int, says: str, note: str = "") -> None:
        """A person's word on a part; the last counts.

        Raises:
            StationError: no such word, or no such part that was judged.
        """
        if says not in SAYINGS:
            raise StationError(f"a word is one of {', '.join(SAYINGS)}")
        self._note(actor, number, says, note)

    def undo(self, actor: Actor, number: int) -> None:
        """Take the last word on a part back; the one before counts again.

        Raises:
            StationError: there is no word on it.
        """
        with self.place.database.read() as session:
            words = list(session.scalars(self._of(number)))
        standing: list[str] = []
        for one in words:
            if one.says:
                standing.append(one.says)
            elif standing:
                standing.pop()
        if not standing:
            raise StationError(f"nobody said anything of image {number}")
        self._note(actor, number, "", "", counts=standing[-2] if len(standing) > 1 else "")

    def _of(self, number: int):
        return select(Word).where(Word.inspection_id == number).order_by(Word.id)

    def _note(
        self, actor: Actor, number: int, says: str, note: str, counts: str | None = None
    ) -> None:
        with self.place.database.write() as session:
            one = session.get(Inspection, number)
            if one is None or one.state != "judged":
                raise StationError(f"there is no verdict {number} that a person could speak of")
            before = one.said
            row = Word(inspection_id=number, at=now(), who=actor.name, says=says, note=note[:1000])
            session.add(row)
            after = says if counts is None else counts
            mine = update(Inspection).where(Inspection.id == number)
            session.execute(mine.values(said=after))
            what = "part.said" if says else "part.undone"
            self.place.trail.add(session, actor, what, f"{number}", before, after)
        self.place.trail.note_head()
        self.place.changed()

    def of(self, number: int) -> list[Word]:
        """All that was said of a part, the first first."""
        with self.place.database.read() as session:
            return list(session.scalars(self._of(number)))

    def last_of(self, actor: Actor) -> int | None:
        """The part that this person spoke of last; None if of none."""
        with self.place.database.read() as session:
            mine = select(Word.inspection_id, Word.says).where(Word.who == actor.name)
            row = session.execute(mine.order_by(Word.id.desc()).limit(1)).first()
        return row.inspection_id if row and row.says else None

    def real(self) -> list[Real]:
        """The rates by product, by person's word alone."""
        lot = (Inspection.drawn > 0).label("lot")
        by = (Inspection.product, Inspection.verdict, Inspection.said, lot)
        with self.place.database.read() as session:
            rows = session.execute(
                select(*by, func.count())
                .where((Inspection.said != "") | (Inspection.drawn > 0))
                .group_by(*by)
            ).all()
        counts: dict[str, Counter[tuple[str, str, bool]]] = {}
        for product, verdict, said, drawn, count in rows:
            counts.setdefault(product, Counter())[verdict, said, bool(drawn)] = count
        return [_real(product, told) for product, told in sorted(counts.items())]


def _real(product: str, told: Counter[tuple[str, str, bool]]) -> Real:
    def said(verdict: str, what: str) -> int:
        return told[verdict, what, False] + told[verdict, what, True]

    false, confirmed = said("defect", "good"), said("defect", "defect")
    missed, sound = said("ok", "defect"), said("ok", "good")
    of_drawn = told["ok", "defect", True]
    return Real(
        product,
        Rate(false, false + confirmed),
        Rate(missed, missed + sound),
        Rate(of_drawn, of_drawn + told["ok", "good", True]),
        told["ok", "", True],
        told["ok", "unsure", True],
        sum(count for (_, what, _), count in told.items() if what == "unsure"),
    )
