"""The station, put together: what comes in, what judges, what goes out; threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from fedpatchcore.station.arriving import Arrivals
from fedpatchcore.station.banks import Banks
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import Queue
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.watching import Watcher
from fedpatchcore.station.working import Worker
from fedpatchcore.version import VERSION

__all__ = ["Station"]


class Station:
    """One station.

    Raises:
        StationError: its folder cannot be written, or another process runs it.
        FedPatchCoreError: there is no bank that it could judge by.
    """

    def __init__(self, settings: StationSettings, say: Callable[[str], None] = print) -> None:
        self.settings, self.say = settings, say
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
        self.worker = Worker(self.place, self.queue)
        self.watcher = Watcher(self.arrivals, settings) if settings.watch else None
        self.refused = ""  # why a newer bank is not in use

    def start(self) -> None:
        """Warm the bank up and begin. Raises FedPatchCoreError without one."""
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        bench, own, self.refused = self.banks.first()
        if self.refused:
            self.say(f"the bank before goes on: {self.refused}")
        self.banks.note(bench, own)
        self.worker.use(bench)
        self._begin("judge", self.worker.run)
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
        troubles = {"judging": self.worker.trouble}
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
            "waiting": self.arrivals.waiting(),
            "free_gb": round(self.place.free() / 1e9, 1),
            "refused_bank": self.refused,
            "trouble": troubles,
        }

    def close(self) -> None:
        """End the threads, each after what it is at, and let go of the folder."""
        self.stop.set()
        self.worker.wake()
        for thread in self._threads:
            thread.join(30)
        self.place.close()
