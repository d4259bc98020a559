"""Requests one at a time: who waits, what is in work, answers kept for callers that come back."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from fedpatchcore.errors import Halted, WorkerError
from fedpatchcore.service.request import Request
from fedpatchcore.timing.phases import Facts
from fedpatchcore.wire.packet import Packet

__all__ = ["Busy", "Ending", "Job", "Jobs"]

KEPT, KEPT_SECONDS = 8, 3600.0
GIVEN_SECONDS = 300.0  # of an answer that a caller took: it may have died before it passed it on


class Busy(WorkerError):
    """As many requests wait as may; the caller is told to ask again."""


class Ending(Busy):
    """The worker is being stopped: the next one at this place does what was asked."""


class Job:
    """One request on its way; several callers may wait for the same.

    Attributes:
        state: ``waiting``, ``working`` or ``done``.
        phase: what the work is at, "" before its first phase.
        body: the answer's bytes once it is done; empty if there is none, and none will come.
        given: whether a caller took the answer.
    """

    def __init__(self, request: Request, until: float) -> None:
        self.request = request
        self.digest = request.digest
        self.until = until
        self.state = "waiting"
        self.phase = ""
        self.callers = 0
        self.cancelled = self.given = False
        self.began = self.ended = 0.0
        self.body = b""
        self._changed = threading.Condition()

    def told(self, **changes: object) -> None:
        """Something about it changed: whoever waits is woken."""
        with self._changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self._changed.notify_all()

    def wait(self, known: tuple[str, str], seconds: float) -> tuple[str, str]:
        """State and phase, once they are others than ``known`` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: (self.state, self.phase) != known, seconds)
            return self.state, self.phase

    def check(self) -> None:
        """Raises Halted if nobody waits for the answer any longer."""
        if self.cancelled:
            raise Halted("given up: its caller took the request back")
        if time.monotonic() > self.until:
            raise Halted("given up: the time that the request was given is over")

    @contextmanager
    def watch(self, name: str, facts: Facts) -> Iterator[None]:
        """A `fedpatchcore.timing.phases.Watcher`: callers hear which phase it is at, no counts."""
        self.told(phase=name)
        yield


class Jobs:
    """The queue of one worker.

    An answer is kept for a while: a caller that died in mid-request asks the same again and gets
    it, and so does one that came back while the work was going on. What was asked is not kept.

    Args:
        queue: requests that may wait behind the one in work.
        longest: seconds of work after which any request is given up.
        keep_bytes: of answers kept; the last one is kept whatever its size, an hour at most.
    """

    def __init__(self, *, queue: int, longest: float, keep_bytes: int) -> None:
        self._queue, self._longest, self._keep = queue, longest, keep_bytes
        self._waiting: deque[Job] = deque()
        self._done: OrderedDict[str, Job] = OrderedDict()
        self._working: Job | None = None
        self._lock = threading.Condition()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    @property
    def working(self) -> Job | None:
        """The request in work."""
        return self._working

    @property
    def kept(self) -> int:
        """Answers kept."""
        return len(self._done)

    def submit(self, request: Request, seconds: float) -> Job:
        """Take a request in, or find the same one that is on its way or answered.

        Args:
            seconds: how long its caller can use an answer.

        Raises:
            Busy: the queue is full.
        """
        until, digest = time.monotonic() + min(seconds, self._longest), request.digest
        with self._lock:
            self._forget()
            for job in (*self._waiting, self._working, *self._done.values()):
                if job and job.digest == digest and not job.cancelled:
                    job.until = max(job.until, until)
                    job.callers += 1
                    return job
            if len(self._waiting) >= self._queue + (self._working is None):
                raise Busy(f"its queue={self._queue} is full")
            job = Job(request, until)
            job.callers = 1
            self._waiting.append(job)
            self._lock.notify()
            return job

    def left(self, job: Job, *, cancel: bool = False) -> None:
        """A caller no longer waits; the work goes on unless it was the last and took it back."""
        with self._lock:
            job.callers -= 1
            if cancel and job.callers == 0:
                job.cancelled = True
                with suppress(ValueError):  # it is in work, or done
                    self._waiting.remove(job)

    def work(self, do: Callable[[Job], tuple[bytes, bool]], seconds: float) -> bool:
        """Do the next request, waiting for one so long; False if there was none.

        Args:
            do: gives the answer's body, and whether it is worth keeping (no refusal is). It
                raises nothing.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: self._waiting, seconds):
                self._forget()  # also while nobody asks
                return False
            job = self._working = self._waiting.popleft()
        job.told(state="working", began=time.monotonic())
        body, keep = do(job)
        with self._lock:
            self._working = None
            job.request = replace(job.request, packet=Packet())  # its arrays are done with
            if keep and not job.cancelled:
                self._done[job.digest] = job
            job.told(state="done", body=body, ended=time.monotonic())
            self._forget()
        return True

    def _forget(self) -> None:
        """Let go of answers that are old, too many or too large, which the last one never is."""
        now = time.monotonic()
        for digest, job in list(self._done.items()):
            if now - job.ended > (GIVEN_SECONDS if job.given else KEPT_SECONDS):
                del self._done[digest]
        for digest in list(self._done)[:-1]:
            size = sum(len(one.body) for one in self._done.values())
            if len(self._done) > KEPT or size > self._keep:
                del self._done[digest]
