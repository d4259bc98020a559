"""A worker from its start to its end: listen, work, give memory back when nobody asks."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from fedpatchcore.errors import FedPatchCoreError, WorkerError
from fedpatchcore.features.warm import Warm
from fedpatchcore.observe.logs import guard, use_json
from fedpatchcore.service.bodies import pack_body
from fedpatchcore.timing.halting import haltable
from fedpatchcore.version import VERSION
from fedpatchcore.wire.packet import Packet, pack_failure
from fedpatchcore.worker.afterwards import Afterwards
from fedpatchcore.worker.jobs import Job, Jobs
from fedpatchcore.worker.listening import Listener
from fedpatchcore.worker.memory import give_back
from fedpatchcore.worker.rules import Rules
from fedpatchcore.worker.settings import WorkerConfig

__all__ = ["run_worker"]

GB = 1e9
LOOK = 0.5  # seconds between two looks at whether it shall end
KEEP_BYTES = 1 << 28

log = logging.getLogger("fedpatchcore.worker")


class _Worker:
    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.jobs = Jobs(queue=config.queue, longest=config.longest_request, keep_bytes=KEEP_BYTES)
        self.later = Afterwards()
        self.warm = Warm(int(config.warm_gb * GB))
        self.began = self.last = time.monotonic()
        self.handled = 0
        self.resting = False
        self._service: Any = None
        self._end = False

    def end(self, *_: object) -> None:
        """Stop after the request in work was given up."""
        self._end = True
        if job := self.jobs.working:
            job.cancelled = True

    def prepare(self) -> None:
        """Load what computes: callers wait for it once, not at every message."""
        from fedpatchcore.service.site_service import SiteService

        rules = Rules(self.config)
        node = self.config.node()
        self._service = SiteService(
            node, name=self.config.site, log=log, rules=rules, warm=self.warm, later=self.later
        )

    def loop(self) -> None:
        """Work until it is told to end."""
        while not self._end:
            if self.jobs.work(self._do, LOOK):
                give_back()
                self.last, self.resting = time.monotonic(), False
            elif not self.resting and time.monotonic() - self.last > self.config.idle_seconds:
                self._rest()

    def _do(self, job: Job) -> tuple[bytes, bool]:
        """The answer; none for work that was given up because this worker ends."""
        try:
            job.check()  # its time may have run out while it waited
            with haltable(job.check):
                packet = self._service.answer(job.request, job.watch)
            body = self._fitting(_body(packet))
        except Exception as error:  # one request never takes the worker down
            if isinstance(error, FedPatchCoreError):
                log.error("[%s] %s", self.config.site, error)
            else:
                log.exception("[%s] a request could not be answered", self.config.site)
                error = WorkerError(f"{type(error).__name__}: the log of the site's worker has it")
            packet = pack_failure(self.config.site, error)
            body = _body(packet)
        self.handled += 1
        failed = "failure" in packet.texts
        if failed and self._end:
            return b"", False
        return body, not failed and job.request.verb != "facts"

    def _fitting(self, body: bytes) -> bytes:
        """An answer that is no larger than the site lets a message be. Raises WorkerError."""
        most = self.config.largest_bytes
        if len(body) > most:
            raise WorkerError(
                f"site '{self.config.site}' answers with {most:,} bytes at most, this answer has "
                f"{len(body):,} (its worker says largest-message): run with a smaller coreset-size"
            )
        return body

    def _rest(self) -> None:
        from fedpatchcore.site.setup import forget_backbones

        self.warm.clear()
        forget_backbones()
        give_back()
        self.resting = True
        log.info("[%s] no request for a while: memory given back", self.config.site)

    def state(self) -> Mapping[str, Any]:
        """For `fedpatchcore worker health`: no word on images."""
        job, now = self.jobs.working, time.monotonic()
        return {
            "site": self.config.site,
            "version": VERSION,
            "process": os.getpid(),
            "up": round(now - self.began, 1),
            "state": "working" if job else "starting" if self._service is None else "idle",
            "verb": job.request.verb if job else "",
            "phase": job.phase if job else "",
            "seconds": round(now - job.began, 1) if job else 0.0,
            "waiting": self.jobs.waiting,
            "queue": self.config.queue,
            "handled": self.handled,
            "kept": self.jobs.kept,
            "pictures-due": self.later.due,
            "warm-mb": round(self.warm.nbytes / 1e6, 1),
        }


def _body(packet: Packet) -> bytes:
    return pack_body({"numbers": packet.numbers, "texts": packet.texts}, packet.arrays)


def run_worker(config: WorkerConfig) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the socket cannot be used, or a user is unknown.
    """
    _log_lines()
    worker = _Worker(config)
    listener = Listener(
        config.socket_path(),
        worker.jobs,
        site=config.site,
        users=config.user_ids(),
        largest=config.largest_bytes,
        queue=config.queue,
        log=log,
        state=worker.state,
    )
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, worker.end)
    listener.open()
    os.umask(0o077)  # what is made from here on is this user's alone
    try:
        log.info("[%s] worker %s listens at %s", config.site, VERSION, listener.path)
        worker.prepare()
        log.info("[%s] ready: %s", config.site, json.dumps({"data": config.data}))
        worker.loop()
        if not worker.later.finish():
            log.warning("[%s] pictures of the last evaluation are not all drawn", config.site)
    finally:
        listener.close()
        log.info("[%s] worker ended", config.site)


def _log_lines() -> None:
    """Lines of the package on this process's stderr, or JSON if the environment asks for it."""
    top = logging.getLogger("fedpatchcore")
    if not top.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        top.addHandler(handler)
    top.setLevel(logging.INFO)
    top.propagate = False
    use_json(top)
    guard(top)
