"""No process outlives the command that started it, however the command ends.

Flower's SuperLink starts a SuperExec in a session of its own, that one a simulation, that one Ray:
ended from above, those below may go on computing. They are found by the ``FLWR_HOME`` that all of
them were given; Linux tells it of each process of one's own user.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

__all__ = ["Told", "end_all", "those_of"]

PROC = Path("/proc")
PATIENCE = 5.0  # seconds between the request to end and the end
LOOK = 0.1
ENDS = (signal.SIGTERM, signal.SIGHUP)


def those_of(home: Path) -> Iterator[int]:
    """Processes whose ``FLWR_HOME`` lies in a folder; none where the system does not tell."""
    mark = b"FLWR_HOME=" + os.fsencode(home) + b"/"
    for place in PROC.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or just ended
            told = (place / "environ").read_bytes()
            if any(one.startswith(mark) for one in told.split(b"\0")):
                yield int(place.name)


def end_all(home: Path) -> None:
    """Ask all of a folder to end, and end those that do not."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + PATIENCE
        for process in those_of(home):
            with suppress(OSError):
                os.kill(process, how)
        while any(those_of(home)):
            if time.monotonic() > end:
                break
            time.sleep(LOOK)
        else:
            return


class Told:
    """Makes of a request to end (SIGTERM, or a terminal that is closed) a SystemExit.

    What was begun is then ended on the way out, as by Ctrl-C. Only where nobody else listens, and
    in the main thread, which alone may.
    """

    def __init__(self) -> None:
        self._taken: list[signal.Signals] = []

    def listen(self) -> None:
        """From now on."""
        if threading.current_thread() is not threading.main_thread():
            return
        for kind in ENDS:
            if signal.getsignal(kind) is signal.SIG_DFL:
                signal.signal(kind, self._leave)
                self._taken.append(kind)

    def done(self) -> None:
        """As before."""
        if threading.current_thread() is threading.main_thread():
            while self._taken:
                signal.signal(self._taken.pop(), signal.SIG_DFL)

    def _leave(self, kind: int, frame: FrameType | None) -> None:
        for one in self._taken:  # a second one does not stop what ends the others
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + kind)
