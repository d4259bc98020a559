"""A program's output, line by line while it runs, without waiting for any single line."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

__all__ = ["LogStream", "cleaned", "without_colours"]

ANSI = re.compile(r"\x1b\[[0-9;]*m")
ACTOR = re.compile(r"^\(\w+ pid=\d+\) ")
TICK = 0.2


def without_colours(text: str) -> str:
    """Text without the codes that colour it on a terminal."""
    return ANSI.sub("", text)


def cleaned(line: str) -> str:
    """A log line without colours and without the prefix of a simulation's actor."""
    return ACTOR.sub("", without_colours(line)).rstrip()


class LogStream:
    """A running program whose lines are read; use as a context manager, which ends it.

    It runs in a session of its own: an interrupt at the keyboard does not reach it.
    Raises OSError if it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._reader.join(5)
        self._process.stdout.close()

    def lines(self, end: float, tick: Callable[[], None]) -> Iterator[str]:
        """Clean lines until the output or, at monotonic time ``end``, the time is over."""
        while time.monotonic() < end:
            tick()
            try:
                text = self._lines.get(timeout=TICK)
            except queue.Empty:
                continue
            if text is None:
                return
            yield text

    def exit_code(self) -> int | None:
        """Exit code once the output is over; None while the program still runs."""
        if self._reader.is_alive():
            return None
        return self._process.wait(10)

    def _read(self) -> None:
        for text in self._process.stdout:
            self._lines.put(cleaned(text.decode(errors="replace")))
        self._lines.put(None)

    def _end(self) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, how)
                self._process.wait(5)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue
