"""The one who judges: takes an image from the queue, judges it by the bench in use, notes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fedpatchcore.errors import (
    BankError,
    ConfigError,
    ControlError,
    FedPatchCoreError,
    ImageError,
    StationError,
)
from fedpatchcore.station.benches import Bench, Judged
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import Job, Queue
from fedpatchcore.texts import one_line

__all__ = ["Worker"]

PAUSE = 2.0  # seconds before what the disk or the data base refused is tried again
IDLE = 1.0  # seconds after which it looks without being woken


class Worker:
    """Judges until told to stop.

    Args:
        why: the nearest good patches of what was judged, to be kept with the verdict.
        settled: told after each image, with None where it could not be judged.
        limit: a threshold that decides in place of the bank's, and its name; (None, "") for none.

    Attributes:
        trouble: why it does not go on just now; empty: it does.
        busy: an image is being judged.
    """

    def __init__(
        self,
        place: Place,
        queue: Queue,
        *,
        why: Callable[[Bench, Job, Judged], Any] = lambda bench, job, found: [],
        settled: Callable[[Job, Judged | None], None] = lambda job, found: None,
        limit: Callable[[Bench, str], tuple[float | None, str]] = lambda bench, product: (None, ""),
    ) -> None:
        self.place, self.queue = place, queue
        self._why, self._settled, self._limit = why, settled, limit
        self.trouble, self.busy = "", False
        self.bench: Bench | None = None
        self._next: Bench | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def use(self, bench: Bench) -> None:
        """Judge by this one from the next image on."""
        with self._lock:
            self._next = bench
        self._wake.set()

    def judges(self) -> Bench | None:
        """By what the next image is judged."""
        with self._lock:
            return self._next or self.bench

    def products(self) -> tuple[str, ...]:
        """Those that the bank knows by which the next image is judged."""
        bench = self.judges()
        return tuple(bench.judging.sections) if bench else ()

    def wake(self) -> None:
        """Something waits."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Judge until told to stop; nothing that goes wrong ends it."""
        while not stop.is_set():
            with self._lock:
                if self._next is not None:
                    self.bench, self._next = self._next, None
            try:
                worked = self.bench is not None and self.one(self.bench)
                self.trouble = "" if self.bench else "there is no bank to judge by"
            except (StationError, ControlError, OSError) as error:
                self.trouble, worked = one_line(error, 300), False
                stop.wait(PAUSE)
            if not worked:
                self._wake.wait(IDLE if not self.trouble else PAUSE)
                self._wake.clear()

    def one(self, bench: Bench) -> bool:
        """Judge the next image → whether there was one.

        Raises:
            StationError, ControlError, OSError: disk or data base refuse; it waits again.
        """
        job = self.queue.begin()
        if job is None:
            return False
        self.busy = True
        try:
            self._judge(bench, job)
        finally:
            self.busy = False
        return True

    def _judge(self, bench: Bench, job: Job) -> None:
        path = self.place.image(job.digest)
        try:
            found = bench.judge(path, job.product, *self._limit(bench, job.product))
        except (ImageError, BankError, ConfigError) as error:
            if not path.exists():
                self._failed(job, "its content is gone from the station's folder")
                return
            why = one_line(str(error).replace(str(path), job.source), 400)
            self._failed(job, why)
            return
        except MemoryError:
            self._failed(job, "too large for this machine's memory")
            return
        except FedPatchCoreError:
            self.queue.give_back(job)
            raise
        why = self._why(bench, job, found)
        while True:  # the verdict is there: it is not judged again for a lock
            try:
                self.queue.judged(job, found, bench, why)
                break
            except ControlError as error:
                self.trouble = one_line(error, 300)
                time.sleep(PAUSE / 4)
        self.trouble = ""
        self._settled(job, found)

    def _failed(self, job: Job, why: str) -> None:
        self.queue.failed(job, why)
        self._settled(job, None)
