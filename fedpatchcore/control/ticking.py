"""Something done again and again in a thread of its own, that a failure does not end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fedpatchcore.report.words import reason_of

__all__ = ["Ticker"]


class Ticker:
    """Calls a function every so many seconds until it is stopped; what it raises is said once."""

    def __init__(self, act: Callable[[], object], every: float, say: Callable[[str], None]) -> None:
        self.act = act
        self.every = every
        self.say = say
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread:
            self._thread.join(5)

    def _run(self) -> None:
        told = ""
        while not self._stop.wait(self.every):
            try:
                self.act()
                told = ""
            except Exception as error:  # the thread goes on: a disk is full for a while
                if reason_of(error) != told:
                    told = reason_of(error)
                    self.say(f"! {told}")
