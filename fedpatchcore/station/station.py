"""The station, put together: what comes in, what judges, what goes out; threads of one process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch

from fedpatchcore.data.dicom import DICOM_SUFFIXES
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.station.arriving import Arrivals
from fedpatchcore.station.banks import Banks
from fedpatchcore.station.benches import Bench, Judged
from fedpatchcore.station.broker import Broker
from fedpatchcore.station.checks import Checks
from fedpatchcore.station.drifting import Drift
from fedpatchcore.station.keeping import Keeper
from fedpatchcore.station.measures import Measures
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import VERDICTS, Job, Queue
from fedpatchcore.station.released import Released
from fedpatchcore.station.reporting import Reports
from fedpatchcore.station.sending import Sender
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.switching import Switch
from fedpatchcore.station.teaching import Teaching
from fedpatchcore.station.thresholds import Thresholds
from fedpatchcore.station.uploads import Rates, Waiting
from fedpatchcore.station.watching import Watcher
from fedpatchcore.station.why import Explainer
from fedpatchcore.station.words import Words
from fedpatchcore.station.working import Worker
from fedpatchcore.version import VERSION
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["Station"]

UPLOADS = 16
SCAN = "dicom-"


class Station:
    """One station.

    Raises:
        StationError: its folder cannot be written, or another process runs it.
        ConfigError: an extra is not installed.
        FedPatchCoreError: there is no bank that it could judge by.
    """

    def __init__(self, settings: StationSettings, say: Callable[[str], None] = print) -> None:
        self.settings, self.say = settings, say
        broker = Broker(settings) if settings.mqtt else None  # before anything is held
        self.place = Place.open(settings.state_folder())
        self.place.lock()
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []
        on_any = ("files",) if settings.out else ()
        on_any += ("mqtt",) if settings.mqtt else ()
        on_defect = ("webhook",) if settings.webhook and settings.webhook_on == "defect" else ()
        on_any += ("webhook",) if settings.webhook and settings.webhook_on == "all" else ()
        self.queue = Queue(self.place, (on_defect, on_any))
        self.arrivals = Arrivals(self.place, settings)
        self.banks = Banks(self.place, settings)
        training = Path(settings.training).expanduser().absolute() if settings.training else None
        self.explainer = Explainer(training)
        self.thresholds = Thresholds(self.place, lambda: self.worker.judges())
        self.worker = Worker(
            self.place,
            self.queue,
            why=self._why,
            settled=self._settled,
            limit=self.thresholds.of,
        )
        self.arrivals.known, self.arrivals.taken = self.worker.products, self.worker.wake
        self.words = Words(self.place)
        self.checks = Checks(self.place, settings)
        self.teaching = Teaching(self.place, settings)
        self.watcher = Watcher(self.arrivals, settings) if settings.watch else None
        self.sender = Sender(self.place, settings, broker=broker)
        self.keeper = Keeper(self.place, settings)
        self.drift = Drift(
            self.place,
            settings,
            lambda: self.worker.bench,
            lambda bench, product: self.explainer.learnt(bench).get(product),
        )
        self.measures = Measures()
        self.rates, self.waiting = Rates(settings.requests_a_minute), Waiting()
        self.drawing = threading.Semaphore(2)  # pictures that are drawn at a time
        self._uploads = 0
        self.released = None
        if settings.registry:
            self.released = Released(self.place, settings, lambda: self.worker.bench)
        self.reports = Reports(self.place, settings) if settings.registry else None
        numbered = {"version": self.released.version_of} if self.released else {}
        self.switch = Switch(self.banks, self.worker, **numbered)

    def start(self) -> None:
        """Warm the bank up and begin. Raises FedPatchCoreError without one."""
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        if self.released:
            self.released.look()
            if self.released.trouble:
                self.say(self.released.trouble)
            self._begin("pull", self.released.run)
        if self.reports:
            self._begin("report", self.reports.run)
        self.switch.begin()
        if self.switch.refused:
            self.say(f"the bank before goes on: {self.switch.refused}")
        self._begin("judge", self.worker.run)
        self._begin("send", self.sender.run)
        self._begin("keep", self.keeper.run)
        self._begin("look back", self._look_back)
        if self.settings.checked_a_day:
            self._begin("draw", self.checks.run)
        if self.settings.drift:
            self._begin("watch drift", self.drift.run)
        if self.watcher:
            if not self.watcher.root.is_dir():
                self.say(f"{self.watcher.root} is not there; the station waits for it")
            self._begin("watch", self.watcher.run)

    def _begin(self, name: str, work: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=work, args=(self.stop,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def health(self) -> dict[str, Any]:
        """How it is, as plain values; ``well`` is false where something keeps images waiting."""
        troubles = {
            "judging": self.worker.trouble,
            "sending": self.sender.trouble,
            "keeping": self.keeper.trouble,
            "drift": self.drift.trouble,
            "drawing lots": self.checks.trouble,
        }
        if self.watcher:
            troubles["watching"] = self.watcher.trouble
        dead = [one.name for one in self._threads if not one.is_alive()]
        if dead and not self.stop.is_set():
            troubles["threads"] = f"{', '.join(dead)} ended"
        troubles = {name: one for name, one in troubles.items() if one}
        bench = self.worker.bench
        return {
            "well": not troubles,
            "station": self.settings.station,
            "version": VERSION,
            "bank": bench.digest if bench else "",
            "judged_by": self.settings.judge_by,
            "engine": bench.detector.backbone.engine if bench else "",
            "engine_apart": bench.detector.backbone.apart if bench else None,
            "waiting": self.arrivals.waiting(),
            "free_gb": round(self.place.free() / 1e9, 1),
            "refused_bank": self.switch.refused,
            "went_back": held.who if (held := self.banks.held()) else "",
            "thresholds": [
                {"product": one.product, "value": one.value, "who": one.who, "since": one.at}
                for one in self.thresholds.in_force()
            ],
            "registry": self.released.trouble if self.released else "",
            "untold_alarms": self.reports.untold() if self.reports else 0,
            "undelivered": self.sender.undelivered(),
            "drift": [
                {"id": one.id, "product": one.product, "cause": one.cause, "since": one.begun_at}
                for one in self.drift.alarms()
            ],
            "trouble": troubles,
        }

    def measure(self) -> None:
        """Bring the gauges up to date."""
        told, gauges = self.health(), self.measures
        gauges.waiting.set(told["waiting"])
        gauges.free.set(self.place.free())
        gauges.well.set(told["well"])
        gauges.undelivered.set(told["undelivered"])
        gauges.alarms.set(self.drift.standing())
        for row, watch in self.drift.watches():
            for name, one in watch.sums.items():
                share = max(one.up, one.down) / watch.rules.h
                gauges.sums.labels(row.product, name).set(share)

    def value_range(self) -> ValueRange | None:
        """Black and white of images of more than 8 bits, as the bank in use has them."""
        bench = self.worker.bench
        return bench.detector.backbone.value_range if bench else None

    # -- images over HTTP -------------------------------------------------------------

    @asynccontextmanager
    async def uploading(self) -> AsyncIterator[None]:
        """Hold one of the places for images on their way in. Raises Refused (503) if all are."""
        if self._uploads >= UPLOADS:
            raise Refused(503, f"{UPLOADS} images are on their way in already: come again")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def receive(self, data: bytes, name: str, product: str) -> int:
        """Take in what a caller sent → its number; what `Arrivals.take` raises."""
        source = f"http:{name or hashlib.sha256(data).hexdigest()[:16]}"
        private = self.arrivals.private(data, name)
        told = self.arrivals.product("" if private else name, product, private=private)
        return self.arrivals.take(data, source, told, urgent=True)

    def is_training(self, file: Path) -> bool:
        """Whether a file is one of the site's own training images."""
        root = self.explainer.root
        return root is not None and file.is_relative_to(root) and file.is_file()

    def training_image(self, told: str) -> Path | None:
        """The file of a training image, by its path or, of a scan, by its mark; None: not here."""
        if not told.startswith(SCAN):
            return Path(told) if self.is_training(Path(told)) else None
        learnt = self.explainer.learnt(self.worker.bench).values()
        files = (file for own in learnt for file in own.files)
        return next((one for one in files if self._training_name(one) == told), None)

    def _training_name(self, file: Path) -> str:
        """As a verdict names a training image: of scans, whose names may be a patient's, a mark."""
        scan = file.suffix.lower() in DICOM_SUFFIXES
        return f"{SCAN}{self.place.mark(str(file))}" if scan else str(file)

    def _why(self, bench: Bench, job: Job, found: Judged) -> list[dict[str, Any]]:
        told = self.explainer.why(bench, job.product, found)
        return [one | {"image": self._training_name(Path(one["image"]))} for one in told]

    def _look_back(self, stop: threading.Event) -> None:
        """Look the training images through whenever another bank judges."""
        while not stop.is_set():
            if (bench := self.worker.bench) is not None:
                self.explainer.look(bench, stop)
                self.switch.renew(bench)
            stop.wait(1.0)

    def _settled(self, job: Job, found: Judged | None) -> None:
        """An image is judged, or cannot be."""
        self.waiting.tell(job.id)
        self.sender.wake()
        if found is None:
            self.measures.images.labels("failed").inc()
            return
        word = VERDICTS[found.prediction.defective]
        self.measures.images.labels(word).inc()
        self.measures.seconds.observe(found.milliseconds / 1000)
        self.measures.waited.observe(max(0, now() - job.arrived_at) / 1000)

    def close(self) -> None:
        """End the threads, each after what it is at, and let go of the folder."""
        self.stop.set()
        self.worker.wake()
        self.sender.wake()
        if self.watcher:
            self.watcher.bell.ring()
        for thread in self._threads:
            thread.join(30)
        if self.watcher:
            self.watcher.bell.close()
        self.place.close()
