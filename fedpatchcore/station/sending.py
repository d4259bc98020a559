"""What a verdict sends out: files, a post to a relay, a message to a broker; until it arrived.

Each is noted in the transaction of the verdict and stays noted until it was taken. A post says the
same ``Idempotency-Key`` whenever it is tried again: a relay that saw it does nothing twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import delete, func, select, update

from fedpatchcore.errors import FedPatchCoreError, StationError
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.cases import file_stem
from fedpatchcore.station.broker import Broker
from fedpatchcore.station.drawing import as_png, drawn
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Inspection, Outgoing
from fedpatchcore.station.told import as_json
from fedpatchcore.texts import one_line
from fedpatchcore.web.moments import now

__all__ = ["GIVEN_UP", "Sender"]

GIVEN_UP = 2**53  # a moment that never comes
FIRST, LONGEST = 0.5, 60.0  # seconds between two tries
REST = 5.0  # seconds in which a broker that is away is left alone, at most
SECONDS = 5.0  # that a relay has to answer
BATCH = 20
IDLE = 0.2  # seconds after which it looks without being woken: for what is tried again


class Sender:
    """Sends what is noted.

    Args:
        broker: takes a message of each verdict; None: there is none.
    """

    def __init__(
        self,
        place: Place,
        settings: StationSettings,
        client: Callable[..., httpx.Client] = httpx.Client,
        *,
        broker: Broker | None = None,
    ) -> None:
        self.place, self.settings = place, settings
        self._client = client
        self._ways: dict[str, Callable[[Inspection], None]] = {}
        if settings.out:
            self._ways["files"] = self._files
        if settings.webhook:
            self._ways["webhook"] = self._webhook
        self._broker = broker
        self._rest, self._again = 0.0, 0.0  # seconds it is left alone; when it is tried again
        self._troubles: dict[str, str] = {}
        self._wake = threading.Event()

    @property
    def trouble(self) -> str:
        """What each way refused last; empty once something arrives there."""
        return "; ".join(self._troubles.values())

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop."""
        while not stop.is_set():
            try:
                sent = self.look()
                self._troubles.pop("", None)
            except FedPatchCoreError as error:
                self._troubles[""], sent = one_line(error, 300), 0
            if not sent:
                self._wake.wait(IDLE)
                self._wake.clear()

    def undelivered(self) -> int:
        """Messages that nobody took and that are not tried again, or whose way is set no longer."""
        ways = [*self._ways, *(["mqtt"] if self._broker else [])]
        given_up = (Outgoing.next_at >= GIVEN_UP) | Outgoing.kind.not_in(ways)
        with self.place.database.read() as session:
            return session.scalar(select(func.count()).where(given_up)) or 0

    def look(self) -> int:
        """Try what is due → how many arrived."""
        with self.place.database.read() as session:
            due = (
                select(Outgoing)
                .where(Outgoing.next_at <= now(), Outgoing.kind.in_(self._ways))
                .order_by(Outgoing.next_at, Outgoing.id)
                .limit(BATCH)
            )
            found = list(session.scalars(due))
        sent = sum(self._try(one) for one in found)
        if self._broker is not None and time.monotonic() >= self._again:
            sent += self._publish(self._broker)
        return sent

    def _try(self, one: Outgoing) -> int:
        with self.place.database.read() as session:
            told = session.get(Inspection, one.inspection_id)
        wrong = ""
        if told is not None:
            try:
                self._ways[one.kind](told)
                self._troubles.pop(one.kind, None)
            except (FedPatchCoreError, httpx.HTTPError, OSError, ValueError) as error:
                wrong = one_line(error, 200) or type(error).__name__
        mine = Outgoing.id == one.id
        with self.place.database.write() as session:
            if not wrong:
                session.execute(delete(Outgoing).where(mine))
                return 1
            self._troubles[one.kind] = f"{one.kind}: {wrong}"
            pause = min(LONGEST, FIRST * 2**one.tries)
            at, judged = now() + round(1000 * pause), told.judged_at or told.arrived_at
            late = now() - judged > self.settings.webhook_minutes * 60_000
            if one.kind == "webhook" and late:
                at = GIVEN_UP
            session.execute(
                update(Outgoing)
                .where(mine)
                .values(tries=min(one.tries + 1, 60), next_at=at, error=wrong)
            )
        return 0

    def _publish(self, broker: Broker) -> int:
        """Hand the oldest messages to the broker; one that is away is left alone for a while."""
        with self.place.database.read() as session:
            query = select(Outgoing.id, Inspection).join(
                Inspection, Inspection.id == Outgoing.inspection_id
            )
            query = query.where(Outgoing.kind == "mqtt").order_by(Outgoing.id).limit(BATCH)
            due = [
                (number, json.dumps(self._told(one)).encode())
                for number, one in session.execute(query)
            ]
        if not due:
            return 0
        arrived: list[int] = []
        try:
            broker.publish(due, arrived.append)
            self._rest = self._again = 0.0
            self._troubles.pop("mqtt", None)
        except StationError as error:
            self._rest = min(REST, 2 * self._rest or FIRST)
            self._again = time.monotonic() + self._rest
            self._troubles["mqtt"] = f"mqtt: {one_line(error, 200)}"
        finally:
            with self.place.database.write() as session:
                session.execute(delete(Outgoing).where(Outgoing.id.in_(arrived)))
        return len(arrived)

    # -- ways out ---------------------------------------------------------------------

    def _told(self, one: Inspection) -> dict[str, Any]:
        return as_json(one, self.settings.station)

    def _files(self, one: Inspection) -> None:
        folder = Path(self.settings.out).expanduser()
        day = self._told(one)["arrived"][:10]
        stem = f"{one.id:08d}-{file_stem(Path(one.source).stem)}"
        if one.patches is not None:
            image = self.place.image(one.digest)
            for kind in ("heatmap", "overlay"):
                picture = as_png(drawn(one, image, kind))
                write_atomically(folder / day / f"{stem}.{kind}.png", picture)
        text = json.dumps(self._told(one), indent=1, ensure_ascii=False) + "\n"
        write_atomically(folder / day / f"{stem}.json", text.encode(errors="replace"))

    def _webhook(self, one: Inspection) -> None:
        headers = {"idempotency-key": f"{self.settings.station}/{one.id}"}
        with self._client(timeout=SECONDS, follow_redirects=False) as client:
            answer = client.post(self.settings.webhook, json=self._told(one), headers=headers)
        if not answer.is_success:
            raise StationError(f"{self.settings.webhook} answers with {answer.status_code}")
