"""Drift alarms to the control room: what changed, by its likeliest cause, and no more.

Told are product, cause, since when, and by which bank it judges: no picture, no score, nothing of
a part. What could not be told stays noted in the data base and is told later, once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
from sqlalchemy import func, select, update

from fedpatchcore.deploy.pulling import say_alarm
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.station.place import Place
from fedpatchcore.station.released import ca_of, read_key
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Alarm, WatchRow
from fedpatchcore.station.told import iso
from fedpatchcore.texts import one_line

__all__ = ["CAUSES_TOLD", "Reports"]

EVERY, LONGEST = 5.0, 300.0  # seconds between two tries
BATCH = 20
KIND = 40  # characters
CAUSES_TOLD = {
    "focus": "pictures are less sharp (lens, focus, motion)",
    "light": "pictures are brighter or darker (light, exposure)",
    "grain": "pictures are sharper or noisier (focus, gain)",
    "parts": "parts look different (position, lot, variant)",
    "defects": "more parts are stopped, the others are as before (defects)",
    "fewer": "fewer parts are stopped, the others are as before",
    "promise": "more parts are stopped than the bank promised",
}


class Reports:
    """Tells a control room what this station's watch found.

    Attributes:
        trouble: why the last try told nothing; empty: it went well.
    """

    def __init__(
        self,
        place: Place,
        settings: StationSettings,
        client: Callable[..., httpx.Client] = httpx.Client,
    ) -> None:
        self.place, self.settings = place, settings
        self.trouble = ""
        self._client = client

    def run(self, stop: threading.Event) -> None:
        """Tell until told to stop; after a failure less and less often."""
        pause = EVERY
        while not stop.wait(pause):
            self.look()
            pause = min(LONGEST, 2 * pause) if self.trouble else EVERY

    def untold(self) -> int:
        """Alarms that stand and that the control room does not know."""
        with self.place.database.read() as session:
            found = select(func.count()).select_from(Alarm).where(*UNTOLD)
            return session.scalar(found) or 0

    def look(self) -> int:
        """Tell what is to be told → how many alarms; never raises."""
        told = 0
        try:
            with self.place.database.read() as session:
                query = select(Alarm, WatchRow.bank)
                query = query.outerjoin(WatchRow, WatchRow.id == Alarm.watch_id)
                found = session.execute(query.where(*UNTOLD).order_by(Alarm.id).limit(BATCH)).all()
            for alarm, bank in found:
                self._tell(alarm, bank or "")
                with self.place.database.write() as session:
                    session.execute(update(Alarm).where(Alarm.id == alarm.id).values(reported=1))
                told += 1
            self.trouble = ""
        except FedPatchCoreError as error:
            self.trouble = one_line(error, 300)
        return told

    def _tell(self, alarm: Alarm, bank: str) -> None:
        told = self.settings
        words = CAUSES_TOLD.get(alarm.cause, alarm.cause)
        words += f", since {(iso(alarm.begun_at) or '')[:19]}" + f", bank {bank[:12]}" * bool(bank)
        say_alarm(
            told.registry,
            read_key(told),
            f"drift, {told.station}"[:KIND].strip(),  # of two stations of a site each its own
            words,
            product=alarm.product,
            root_certificates=ca_of(told),
            client=self._client,
        )


UNTOLD = (Alarm.reported == 0, Alarm.ended_at.is_(None))
