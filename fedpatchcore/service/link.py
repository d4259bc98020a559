"""The node's end of the worker's socket: pass a request on, wait, come back after a break."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service.bodies import Buffer, pieces_of
from fedpatchcore.service.caller import Caller
from fedpatchcore.service.frames import Frame, Kind, read_frame, write_frame
from fedpatchcore.service.request import Request, packet_from
from fedpatchcore.wire.packet import Packet

__all__ = ["Link"]

SILENCE = 120.0  # seconds without a word from a worker that says one every few
PAUSE, LONGEST_PAUSE = 1.0, 8.0  # seconds; a busy worker is asked less and less often
LARGEST = 1 << 33  # bytes of an answer, of a worker that does not say its own bound


class Link:
    """One worker, asked over its socket.

    Args:
        path: the socket.
        patience: seconds that a worker which is away or busy is waited for, each time anew.
        seconds: how long an answer can be used; the worker gives its work up then.
        say: told one line when the worker is away, back, or at another phase.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: float = 0.0,
        seconds: float | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.path = path
        self.patience = patience
        self._until = float("inf") if seconds is None else time.monotonic() + seconds
        self._say = say

    def answer(self, request: Request) -> Packet:
        """The worker's answer; it may take as long as the work does.

        The same request is sent again after a break: work that went on meanwhile is not lost,
        and an answer that is there already comes at once.

        Raises:
            WorkerAway: no worker answered within ``patience``.
            WorkerError: it refuses, or is of another version.
        """
        told = {**request.told(), "traceparent": request.traceparent}
        if self._until < float("inf"):
            told["seconds"] = max(0.0, self._until - time.monotonic())
        body = pieces_of(told, request.packet.arrays)
        since, why, pause = None, "", PAUSE
        while True:
            try:
                return self._asked(body)
            except (WorkerAway, _Again) as error:
                now = time.monotonic()
                if isinstance(error, _Told):  # it had answered: a new break
                    since = None
                since = now if since is None else since
                left = min(since + self.patience, self._until) - now
                reason = str(error)
                busy = isinstance(error, _Again)
                pause = min(2 * pause, LONGEST_PAUSE) if busy else PAUSE
                if left <= 0:
                    raise WorkerAway(self._gone(reason, busy)) from None
                if reason != why:
                    state = "busy" if busy else "away"
                    self._say(f"worker {state} ({reason}), waiting up to {left:.0f} s for it")
                    why = reason
                time.sleep(min(pause, left))

    def _gone(self, reason: str, busy: bool) -> str:
        if busy:
            mend = f"ask again later ('fedpatchcore worker health {self.path}' there says when)"
            return f"this site's worker is busy ({reason}): {mend}"
        mend = "start it there (fedpatchcore worker run FILE, or its service)"
        return f"this site's worker is away ({reason}): {mend}"

    def health(self) -> dict[str, Any]:
        """What the worker says of itself, and of the kernel's word ``uid`` and ``pid``.

        Raises:
            WorkerAway, WorkerError: as `answer` does.
        """
        with self._connected() as (connection, hello):
            write_frame(connection, Kind.HEALTH)
            told = {**hello, **_expected(read_frame(connection), Kind.STATE).told}
            seen = Caller.of(connection)
            return {**told, "uid": seen.uid, "pid": seen.pid}

    def _asked(self, body: Sequence[Buffer]) -> Packet:
        heard = False
        try:
            with self._connected() as (connection, hello):
                told = hello.get("largest")
                largest = told if type(told) is int and told > 0 else LARGEST
                self._send(connection, body)
                phase = ""
                while True:
                    frame = read_frame(connection, largest=largest)
                    heard = True
                    if frame.kind == Kind.ANSWER:
                        return packet_from(frame.told, frame.arrays)
                    told = _expected(frame, Kind.PROGRESS).told
                    if (now := str(told.get("phase", ""))[:40]) != phase:
                        phase = now
                        self._say(f"worker: {phase}")
                    if time.monotonic() > self._until:
                        with suppress(OSError):  # it is gone: nothing to take back
                            write_frame(connection, Kind.CANCEL)
                        raise WorkerError("the time that this message was given is over")
        except WorkerAway as error:
            raise (_Told if heard else WorkerAway)(str(error)) from None

    @staticmethod
    def _send(connection: socket.socket, body: Sequence[Buffer]) -> None:
        try:
            write_frame(connection, Kind.REQUEST, body=body)
        except OSError as error:
            with suppress(WorkerAway):  # it may have said why before it closed
                if (frame := read_frame(connection)).kind == Kind.REFUSED:
                    _expected(frame, Kind.ANSWER)
            raise WorkerAway(error.strerror or str(error)) from None

    @contextmanager
    def _connected(self) -> Iterator[tuple[socket.socket, dict[str, Any]]]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(SILENCE)
        with connection:
            try:
                connection.connect(str(self.path))
            except PermissionError:
                raise WorkerError(
                    f"this user may not open {self.path}: see the folder's permissions there"
                ) from None
            except OSError as error:
                where = "no socket there" if error.errno == errno.ENOENT else error.strerror
                raise WorkerAway(f"{self.path}: {where}") from None
            hello = _expected(read_frame(connection), Kind.HELLO)
            yield connection, dict(hello.told)


class _Again(WorkerError):
    """The worker is there and busy."""


class _Told(WorkerAway):
    """The worker was heard before it went away."""


def _expected(frame: Frame, kind: Kind) -> Frame:
    """The frame, if it is of this kind. Raises what a refusal says."""
    if frame.kind == Kind.REFUSED:
        reason = " ".join(str(frame.told.get("reason", "")).split())[:500]
        if frame.told.get("ends") is True:
            raise WorkerAway(reason)
        raise (_Again if frame.told.get("again") is True else WorkerError)(reason)
    if frame.kind != kind:
        said, wanted = frame.kind.name.lower(), kind.name.lower()
        raise WorkerError(f"the worker said {said} in place of {wanted}")
    return frame
