"""Programs kept running: started, watched, started again after a pause, ended together.

Each runs in a session of its own, so that what it started ends with it: a SuperNode that is
killed leaves its executor behind otherwise. Where the system can (Linux), they are told to end
should this process be killed itself: a second SuperNode with the same key could never connect.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from fedpatchcore.errors import RunError

__all__ = ["Program", "Supervisor"]

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
LONG_LIFE = 60.0  # whoever lived so long starts over with the first pause
POLL = 0.2
PATIENCE = 10.0


@dataclass(frozen=True)
class Program:
    """One program to keep running.

    Attributes:
        ready: asked before each start; False = not yet, ask again after a pause.
        explain: told the exit code; what a person should know of it, one line.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    explain: Callable[[int], str] = lambda code: f"exit code {code}"


class Supervisor:
    """Keeps programs running until it is told to stop (SIGINT, SIGTERM) or `stop` is called.

    Args:
        say: told one line for a person at each start, end and pause.
        once: do not start a program again: `run` returns when the first one ends.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        say: Callable[[str], None],
        once: bool = False,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._watched = [_Watched(p, first_pause, longest_pause, say) for p in programs]
        self._once = once
        self._stopping = False

    def run(self) -> int:
        """Start everything and watch; returns 0 when stopped, 1 if ``once`` and one ended."""
        former = {
            kind: signal.signal(kind, self._told_to_stop)
            for kind in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            while not self._stopping:
                for one in self._watched:
                    ended = one.look()
                    if self._once and ended:
                        return 1
                    if self._stopping:
                        break
                time.sleep(POLL)
            return 0
        finally:
            for one in self._watched[::-1]:
                one.end()
            for kind, handler in former.items():
                signal.signal(kind, handler)

    def stop(self) -> None:
        """End all programs at the next look."""
        self._stopping = True

    def _told_to_stop(self, kind: int, frame: FrameType | None) -> None:
        self.stop()


class _Watched:
    """One program, its process, and when it may start again."""

    def __init__(
        self, program: Program, first: float, longest: float, say: Callable[[str], None]
    ) -> None:
        self.program = program
        self._first, self._longest, self._say = first, longest, say
        self._pause = first
        self._next = 0.0
        self._started = 0.0
        self._process: subprocess.Popen | None = None

    def look(self) -> bool:
        """Start it if it is time, note if it ended; True if it ended or was not ready."""
        now = time.monotonic()
        if self._process is None:
            if now < self._next:
                return False
            if not self.program.ready():
                self._wait()
                return True
            self._start()
            return False
        code = self._process.poll()
        if code is None:
            return False
        self.end()
        if now - self._started >= LONG_LIFE:
            self._pause = self._first
        self._say(f"{self.program.name} ended: {self.program.explain(code)}")
        self._wait()
        self._say(f"{self.program.name} starts again in {self._next - time.monotonic():.0f} s")
        return True

    def _wait(self) -> None:
        self._next = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._longest)

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                list(self.program.command),
                env={**os.environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise RunError(
                f"{self.program.command[0]} cannot be started: {error.strerror}"
            ) from None
        self._started = time.monotonic()
        self._say(f"{self.program.name} started (process {self._process.pid})")

    def end(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, kind)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
                if kind == signal.SIGTERM and _alone(process.pid):
                    return


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child before it becomes the program: SIGTERM when the parent dies (prctl(2))."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _alone(group: int) -> bool:
    """Whether no process of this group is left, waiting a moment for it."""
    for _ in range(int(2 / POLL)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(POLL)
    return False
