"""What people say of parts, and what follows from it: the real rates, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

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
        missed: passed parts that are defective, of those passed and looked at. Only parts that
            somebody looked at count: a plant that never checks passed parts learns nothing here.
    """

    product: str
    false_alarms: Rate
    missed: Rate
    unsure: int


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
        with self.place.database.read() as session:
            rows = session.execute(
                select(Inspection.product, Inspection.verdict, Inspection.said, func.count())
                .where(Inspection.said != "")
                .group_by(Inspection.product, Inspection.verdict, Inspection.said)
            ).all()
        counts: dict[str, dict[tuple[str, str], int]] = {}
        for product, verdict, said, count in rows:
            counts.setdefault(product, {})[verdict, said] = count
        found = []
        for product, told in sorted(counts.items()):
            stopped = [told.get(("defect", one), 0) for one in ("good", "defect")]
            passed = [told.get(("ok", one), 0) for one in ("defect", "good")]
            unsure = sum(n for (_, said), n in told.items() if said == "unsure")
            found.append(
                Real(product, Rate(stopped[0], sum(stopped)), Rate(passed[0], sum(passed)), unsure)
            )
        return found
