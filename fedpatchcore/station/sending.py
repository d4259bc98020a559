"""What a verdict sends out: files, a post to a relay, a message to a broker; until it arrived.

Each is noted in the transaction of the verdict and stays noted until it was taken. A post says the
same ``Idempotency-Key`` whenever it is tried again: a relay that saw it does nothing twice.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import delete, func, select, update

from fedpatchcore.errors import ConfigError, FedPatchCoreError, StationError
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.cases import file_stem
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
SECONDS = 5.0  # that a relay or a broker has to answer
BATCH = 20


class Sender:
    """Sends what is noted.

    Attributes:
        trouble: what was refused last; empty once something arrives.
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
        self._ways: dict[str, Callable[[Inspection], None]] = {
            "files": self._files,
            "webhook": self._webhook,
            "mqtt": self._mqtt,
        }

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop."""
        while not stop.is_set():
            try:
                sent = self.look()
            except FedPatchCoreError as error:
                self.trouble, sent = one_line(error, 300), 0
            if not sent:
                stop.wait(0.2)

    def undelivered(self) -> int:
        """Messages that nobody took and that are not tried again."""
        with self.place.database.read() as session:
            found = select(func.count()).where(Outgoing.next_at >= GIVEN_UP)
            return session.scalar(found) or 0

    def look(self) -> int:
        """Try what is due → how many arrived."""
        with self.place.database.read() as session:
            due = (
                select(Outgoing)
                .where(Outgoing.next_at <= now())
                .order_by(Outgoing.next_at, Outgoing.id)
                .limit(BATCH)
            )
            found = list(session.scalars(due))
        return sum(self._try(one) for one in found)

    def _try(self, one: Outgoing) -> int:
        with self.place.database.read() as session:
            told = session.get(Inspection, one.inspection_id)
        wrong = ""
        if told is not None:
            try:
                self._ways[one.kind](told)
                self.trouble = ""
            except (FedPatchCoreError, httpx.HTTPError, OSError, ValueError) as error:
                wrong = one_line(error, 200) or type(error).__name__
        mine = Outgoing.id == one.id
        with self.place.database.write() as session:
            if not wrong:
                session.execute(delete(Outgoing).where(mine))
                return 1
            self.trouble = f"{one.kind}: {wrong}"
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

    def _mqtt(self, one: Inspection) -> None:
        try:
            import aiomqtt
        except ImportError:
            raise ConfigError("mqtt takes an extra: pip install 'fedpatchcore[mqtt]'") from None
        host, _, port = self.settings.mqtt.rpartition(":")
        payload = json.dumps(self._told(one)).encode()

        async def publish() -> None:
            async with aiomqtt.Client(host, int(port), timeout=SECONDS) as client:
                await client.publish(self.settings.mqtt_topic, payload, qos=1)

        try:
            asyncio.run(publish())
        except aiomqtt.MqttError as error:
            raise StationError(f"the broker {self.settings.mqtt}: {error}") from None
