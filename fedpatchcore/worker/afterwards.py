"""Work that an answer does not wait for: pictures for the eyes of this site."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from fedpatchcore.worker.memory import give_back

__all__ = ["Afterwards"]

AT_ONCE = 2  # pieces that may be due: each holds the maps of an evaluation
NICENESS = 10
PATIENCE = 60.0

log = logging.getLogger("fedpatchcore.worker")


class Afterwards:
    """One thread that does what is handed over, in order, behind everything else.

    What goes wrong in a piece is logged; the next one is done all the same.
    """

    def __init__(self) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._due: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def due(self) -> int:
        """Pieces that are not done yet."""
        return len(self._due)

    def __call__(self, work: Callable[[], None]) -> None:
        """Hand over a piece; waits while too many are due."""
        self._room.acquire()
        with self._changed:
            self._due.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="afterwards", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def finish(self, seconds: float = PATIENCE) -> bool:
        """Wait until all is done; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._due, seconds)

    def _run(self) -> None:
        with suppress(OSError):  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                work = self._due[0]
            try:
                work()
            except Exception:
                log.exception("work that no answer waits for broke off")
            finally:
                with self._changed:
                    self._due.pop(0)
                    self._changed.notify_all()
                del work  # and the maps that it holds
                give_back()
                self._room.release()
