"""The worker's socket: who may connect, and a thread for each caller."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from fedpatchcore.errors import ConfigError, FedPatchCoreError, WorkerAway, WorkerError
from fedpatchcore.service.caller import Caller
from fedpatchcore.service.frames import Frame, Kind, read_frame, write_frame
from fedpatchcore.service.request import Request
from fedpatchcore.version import VERSION
from fedpatchcore.worker.jobs import Busy, Ending, Job, Jobs

__all__ = ["Listener"]

SILENCE = 30.0  # seconds in which a caller must go on with its request
BEAT = 3.0  # seconds between two words to a caller that waits
LOOK = 0.3  # seconds between two looks at whether it still does
SPARE = 8  # connections beside those that the queue can hold
LONGEST_WAIT = 86_400.0  # seconds; what a caller says of its patience goes no further


class Listener:
    """Takes requests from the socket to `Jobs` and answers back.

    Args:
        users: numbers of the users that may ask, beside this process's own and root.
        state: what `health` is told.
        largest: bytes of a message.
    """

    def __init__(
        self,
        path: Path,
        jobs: Jobs,
        *,
        site: str,
        users: set[int],
        largest: int,
        queue: int,
        log: logging.Logger,
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.path = path
        self._jobs, self._site, self._largest = jobs, site, largest
        self._users = users | {0, os.getuid()}
        self._log, self._state = log, state
        self._room = threading.BoundedSemaphore(queue + SPARE)
        self._lock: IO[str] | None = None
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin to listen. Raises ConfigError if another worker does, or the path can't be used."""
        with ExitStack() as undo:
            try:
                if not self.path.parent.is_dir():  # the node, another user, passes through it
                    self.path.parent.mkdir(parents=True)
                    self.path.parent.chmod(0o755)
                lock = undo.enter_context(self.path.with_name(f"{self.path.name}.lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                opened = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                if self.path.exists() and not self.path.is_socket():
                    raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
                self.path.unlink(missing_ok=True)  # of a worker that died
                opened.bind(str(self.path))
                # Who may ask is judged by the kernel's word on who connects, not by the file's
                # mode: the node runs as another user, which shares no group with this one.
                self.path.chmod(0o666)
                opened.listen(16)
            except BlockingIOError:
                raise ConfigError(
                    f"another worker listens at {self.path}: end it, or give this one another "
                    "socket"
                ) from None
            except OSError as error:
                raise self._unusable(error) from None
            undo.pop_all()
        self._lock, self._socket = lock, opened
        threading.Thread(target=self._accept, name="listening", daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        if self._socket is not None:
            with suppress(OSError):  # wakes the thread that accepts
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cannot listen at {self.path}: {error.strerror or error}; name another place with "
            "socket='/run/fedpatchcore/worker.sock'"
        )

    def _accept(self) -> None:
        while True:
            self._room.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0:
                    return  # closed
                self._room.release()
                time.sleep(0.1)  # no file handle is free
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:  # no thread is free
                connection.close()
                self._room.release()
                time.sleep(0.1)

    def _serve(self, connection: socket.socket) -> None:
        caller: Caller | None = None
        try:
            with connection:
                connection.settimeout(SILENCE)
                caller = Caller.of(connection)
                self._talk(connection, caller)
        except (WorkerAway, OSError) as error:
            self._log.info("[%s] %s left: %s", self._site, caller, error)
        except FedPatchCoreError as error:
            self._log.warning("[%s] refused %s: %s", self._site, caller, error)
        except Exception:
            self._log.exception("[%s] a caller could not be served", self._site)
        finally:
            self._room.release()

    def _talk(self, connection: socket.socket, caller: Caller) -> None:
        if caller.uid not in self._users:
            reason = f"the worker of site '{self._site}' does not serve {str(caller).split(',')[0]}"
            reason += ": name that user in its worker.toml (users)"
            write_frame(connection, Kind.REFUSED, {"reason": reason, "again": False})
            raise WorkerError(reason)
        told = {"site": self._site, "version": VERSION, "largest": self._largest}
        write_frame(connection, Kind.HELLO, told)
        try:
            frame = read_frame(connection, largest=self._largest)
            if frame.kind == Kind.HEALTH:
                write_frame(connection, Kind.STATE, self._state())
                return
            if frame.kind != Kind.REQUEST:
                raise WorkerError(f"a worker is sent a request, not {frame.kind.name.lower()}")
            job = self._taken(frame, caller)
            del frame  # its arrays are the job's
            self._answer(connection, job)
        except WorkerAway:
            raise
        except WorkerError as error:
            told = {"reason": str(error), "again": isinstance(error, Busy)}
            told["ends"] = isinstance(error, Ending)
            write_frame(connection, Kind.REFUSED, told)
            raise

    def _answer(self, connection: socket.socket, job: Job) -> None:
        cancel = False
        try:
            cancel = not self._follow(connection, job)
        finally:
            self._jobs.left(job, cancel=cancel)

    def _taken(self, frame: Frame, caller: Caller) -> Job:
        request = Request.from_told(frame.told, frame.arrays)
        patience = frame.told.get("seconds")
        seconds = patience if isinstance(patience, int | float) else LONGEST_WAIT
        job = self._jobs.submit(request, min(max(0.0, seconds), LONGEST_WAIT))
        again = "" if job.state == "waiting" and job.callers == 1 else ", asked for before"
        self._log.info(
            "[%s] %s of run %s from %s%s", self._site, request.verb, request.run, caller, again
        )
        return job

    def _follow(self, connection: socket.socket, job: Job) -> bool:
        """Tell the caller how it goes until it is done; False if it took the request back."""
        known, told = ("", ""), 0.0
        while True:
            before, known = known, job.wait(known, LOOK)
            if known[0] == "done" and not job.body:
                raise Ending("the worker ends")
            if known[0] == "done":
                write_frame(connection, Kind.ANSWER, body=job.body)
                job.given = True
                return True
            if select.select([connection], [], [], 0)[0]:
                return read_frame(connection).kind != Kind.CANCEL
            if known != before or time.monotonic() - told >= BEAT:
                try:
                    write_frame(connection, Kind.PROGRESS, {"state": known[0], "phase": known[1]})
                except OSError:  # it is gone; its last word may lie there
                    if _took_back(connection):
                        return False
                    raise
                told = time.monotonic()


def _took_back(connection: socket.socket) -> bool:
    """Whether a caller that is gone took its request back before it went."""
    with suppress(WorkerAway, WorkerError, OSError):
        return read_frame(connection).kind == Kind.CANCEL
    return False
