"""Passed parts that are drawn by lot and put before a person: how many defects pass in truth.

People look at what was stopped; what they look at among passed parts they chose themselves, and
no rate follows from it. Here chance chooses: when a shift has ended, each of its passed parts gets
a number that depends on nothing but the seed, the station's name and the part's own number, and
those with the smallest are drawn. That is a simple random sample without replacement, the same one
however often it is drawn, and no word of a person, no score and no picture has a say in it.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Draw, Inspection
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import DAY, now

__all__ = ["TO_CHECK", "Checks", "share_of", "shifts_between"]

EVERY = 15.0  # seconds between two looks whether a shift has ended
LATEST = 7 * DAY  # a shift that ended longer ago is not drawn from any more
PATIENCE = DAY // 24  # after a shift, for images of it that still wait to be judged
TO_CHECK = (Inspection.drawn > 0) & (Inspection.said == "")


class Checks:
    """Draws from each shift that has ended, once."""

    def __init__(self, place: Place, settings: StationSettings) -> None:
        self.place, self.settings = place, settings
        self.trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            try:
                self.look(now())
                self.trouble = ""
            except FedPatchCoreError as error:
                self.trouble = one_line(error, 300)
            stop.wait(EVERY)

    def look(self, at: int) -> int:
        """Draw from the shifts that ended by then and were not drawn from yet → parts drawn.

        The first look draws nothing: parts from before then were never to be looked at.
        """
        begins = self.settings.shift_minutes()
        with self.place.database.read() as session:
            last = session.scalar(select(func.max(Draw.ended_at)))
        if last is None:
            self._note(0, at, [], 0)
            return 0
        drawn = 0
        for number, begin, end in shifts_between(max(last, at - LATEST), at, begins):
            begin = max(begin, last)
            with self.place.database.read() as session:
                mine = (Inspection.arrived_at >= begin) & (Inspection.arrived_at < end)
                waiting = select(Inspection.id).where(mine, Inspection.state == "waiting").limit(1)
                if at < end + PATIENCE and session.scalar(waiting) is not None:
                    break
                passed = select(Inspection.id).where(mine, Inspection.verdict == "ok")
                numbers = list(session.scalars(passed))
            size = share_of(self.settings.checked_a_day, number, len(begins))
            chosen = heapq.nsmallest(size, numbers, key=self._lot)
            self._note(begin, end, chosen, len(numbers))
            drawn += len(chosen)
        return drawn

    def _lot(self, number: int) -> bytes:
        told = f"{self.settings.checked_seed}\0{self.settings.station}\0{number}"
        return hashlib.sha256(told.encode()).digest()

    def _note(self, begin: int, end: int, chosen: Sequence[int], of: int) -> None:
        with self.place.database.write() as session:
            row = Draw(begun_at=begin, ended_at=end, passed=of, taken=len(chosen))
            session.add(row)
            session.flush()
            mine = update(Inspection).where(Inspection.id.in_(chosen), Inspection.verdict == "ok")
            session.execute(mine.values(drawn=row.id))
            if chosen:
                told = {"parts": list(chosen), "of": of}
                self.place.trail.add(
                    session, Actor("station"), "checks.drawn", f"{row.id}", "", told
                )
        if chosen:
            self.place.trail.note_head()
            self.place.changed()


def share_of(a_day: int, number: int, shifts: int) -> int:
    """Parts of a shift, of so many a day: as evenly as whole numbers allow."""
    return a_day // shifts + (number < a_day % shifts)


def shifts_between(first: int, last: int, begins: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Shifts that end after ``first`` and by ``last``: the number in its day, begin, end.

    Args:
        begins: minutes after midnight, ascending, in the station's own time.
    """
    day = datetime.fromtimestamp(first / 1000).replace(hour=0, minute=0, second=0, microsecond=0)
    day -= timedelta(days=1)
    while True:
        marks = [day + timedelta(minutes=one) for one in begins]
        marks.append(day + timedelta(days=1, minutes=begins[0]))
        moments = [round(one.timestamp() * 1000) for one in marks]
        for number in range(len(begins)):
            begin, end = moments[number], moments[number + 1]
            if end > last:
                return
            if end > first:
                yield number, begin, end
        day += timedelta(days=1)
