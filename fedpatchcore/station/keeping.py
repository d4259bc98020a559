"""What is kept, and for how long: the oldest verdicts and images go for good."""

from __future__ import annotations

import threading
from contextlib import suppress

from sqlalchemy import delete, func, select

from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.station.place import PART, Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Inspection, Outgoing, Word
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import DAY, now

__all__ = ["Keeper"]

EVERY = 60.0  # seconds
BATCH = 500
AT_ONCE = 20  # images that make room for new ones
DIGEST = 64


class Keeper:
    """Deletes what is older, or more, than is kept. What waits is never deleted."""

    def __init__(self, place: Place, settings: StationSettings) -> None:
        self.place, self.settings = place, settings
        self.trouble = ""
        self._unsent = 0  # messages that nobody took, deleted with their images

    def run(self, stop: threading.Event) -> None:
        """Look each minute until told to stop."""
        swept = False
        while not stop.is_set():
            try:
                if not swept:
                    self.sweep()
                    swept = True
                self.look()
                self.trouble = ""
            except (FedPatchCoreError, OSError) as error:
                self.trouble = one_line(error, 300)
            stop.wait(EVERY)

    def look(self) -> int:
        """Delete what is due → how many images."""
        gone = 0
        if self.settings.keep_days:
            before = now() - round(self.settings.keep_days * DAY)
            while found := self._delete(Inspection.arrived_at < before):
                gone += found
        if self.settings.keep_gb:
            most = self.settings.keep_gb * 1e9
            while self._bytes() > most and (found := self._delete(None)):
                gone += found
        if gone:
            told = {"images": gone} | ({"unsent": self._unsent} if self._unsent else {})
            self._unsent = 0
            with self.place.database.write() as session:
                actor = Actor("station")
                self.place.trail.add(session, actor, "images.deleted", "retention", after=told)
            self.place.trail.note_head()
            self._write_over()
            self.place.changed()
        return gone

    def _bytes(self) -> int:
        with self.place.database.read() as session:
            each = select(func.max(Inspection.size).label("size")).group_by(Inspection.digest)
            return session.scalar(select(func.sum(each.subquery().c.size))) or 0

    def _delete(self, condition: object) -> int:
        """The oldest of them, a batch at a time."""
        done = Inspection.state != "waiting"
        with self.place.database.read() as session:
            query = select(Inspection.id, Inspection.digest).where(done).order_by(Inspection.id)
            if condition is not None:
                query = query.where(condition)
            size = BATCH if condition is not None else AT_ONCE
            rows = session.execute(query.limit(size)).all()
        if not rows:
            return 0
        numbers = [row.id for row in rows]
        with self.place.keeping:
            with self.place.database.write() as session:
                session.execute(delete(Word).where(Word.inspection_id.in_(numbers)))
                unsent = delete(Outgoing).where(Outgoing.inspection_id.in_(numbers))
                self._unsent += session.execute(unsent).rowcount
                session.execute(delete(Inspection).where(Inspection.id.in_(numbers)))
            self._drop({row.digest for row in rows})
        return len(rows)

    def _drop(self, digests: set[str]) -> None:
        """Delete contents that no row names any more."""
        with self.place.database.read() as session:
            named = select(Inspection.digest).where(Inspection.digest.in_(digests))
            still = set(session.scalars(named))
        for digest in digests - still:
            self.place.drop(digest)

    def _write_over(self) -> None:
        """Nothing of what was deleted is left in the log beside the data base."""
        with self.place.database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def sweep(self) -> int:
        """Delete what a death left: contents without a row, halves of files → how many."""
        gone = 0
        for folder in sorted((self.place.folder / "images").iterdir()):
            files = list(folder.iterdir()) if folder.is_dir() else []
            whole = [one for one in files if len(one.name) == DIGEST]
            for one in files:
                if one.name.endswith(PART):
                    with suppress(OSError):
                        one.unlink()
                        gone += 1
            for at in range(0, len(whole), BATCH):
                with self.place.keeping:
                    before = [one.name for one in whole[at : at + BATCH]]
                    self._drop(set(before))
                    gone += sum(not self.place.image(one).exists() for one in before)
        return gone
