"""A site's worker: its listener in this process, or all of it in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import WorkerError
from fedpatchcore.server.federation import Federation
from fedpatchcore.service.bodies import pack_body
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
from fedpatchcore.timing.halting import haltable
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.train import unpack_train
from fedpatchcore.worker.jobs import Job, Jobs
from fedpatchcore.worker.listening import Listener
from fedpatchcore.worker.settings import worker_file
from tests.support.field import until
from tests.support.places import ROOT

__all__ = [
    "SETTINGS",
    "Doing",
    "Served",
    "Worker",
    "asked",
    "bank_of",
    "body",
    "deterministic",
    "listening",
]

SETTINGS = {  # of a run that takes seconds, whose features do not depend on how they are batched
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 64,
    "batch-size": 2,
    "coreset-size": 30,
    "global-bank-size": 60,
    "min-sites": 1,
    "num-rounds": 2,
    "threads": 1,
    "heatmaps": 0,
    "holdout": 0.25,
    "device": "cpu",
}
MEASURED = ("seconds", "memory")  # of an answer: no two are alike
Doing = Callable[[Job], tuple[bytes, bool]]


# -- what is asked, and what is answered --------------------------------------------------------


def asked(
    verb: str,
    packet: Packet | None = None,
    *,
    round: int = 1,
    run: str = "r",
    number: str = "1",
    **settings: object,
) -> Request:
    """A request as the server of a run would send it; settings over `SETTINGS`."""
    packet = packet or Packet()
    told = SETTINGS | {key.replace("_", "-"): value for key, value in settings.items()}
    texts = {"round": round, "run": run, "run-folder": f"runs/{run}"}
    return Request(verb, told, Packet(packet.arrays, packet.numbers, texts | packet.texts), number)


def bank_of(answer: Packet, **settings: object) -> MemoryBank:
    """The bank of a federation whose only site gave this answer to a train message."""
    told = SETTINGS | {key.replace("_", "-"): value for key, value in settings.items()}
    federation = Federation(RunConfig.parse(told, where="test"))
    federation.accept(unpack_train(answer))
    return federation.merge(1)


def deterministic(answer: Packet) -> dict[str, Any]:
    """All of an answer but what was measured while it was made; equal answers are equal here."""
    assert "failure" not in answer.texts, answer.texts["failure"]
    arrays = {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in answer.arrays.items()}
    numbers = {k: repr(list(v)) for k, v in answer.numbers.items() if k not in MEASURED}
    return {"arrays": arrays, "numbers": numbers, "texts": dict(answer.texts)}


# -- in this process ------------------------------------------------------------------------------


@dataclass
class Served:
    """A listener, and what it was given to do."""

    path: Path
    jobs: Jobs
    listener: Listener
    seen: list[Job] = field(default_factory=list)

    def link(self, **told: Any) -> Link:
        return Link(self.path, **told)


@contextmanager
def listening(
    path: Path,
    do: Doing,
    *,
    users: frozenset[int] = frozenset(),
    queue: int = 4,
    largest: int = 1 << 26,
    longest: float = 600.0,
) -> Iterator[Served]:
    """A worker's listener and queue in this process, and a thread that does the work."""
    jobs = Jobs(queue=queue, longest=longest, keep_bytes=1 << 26)
    listener = Listener(
        path,
        jobs,
        site="plant-a",
        users=set(users),
        largest=largest,
        queue=queue,
        log=logging.getLogger("fedpatchcore.worker"),
        state=lambda: {"state": "idle"},
    )
    listener.open()
    found, end = Served(path, jobs, listener), threading.Event()

    def one(job: Job) -> tuple[bytes, bool]:
        found.seen.append(job)
        with haltable(job.check):
            return do(job)

    def loop() -> None:
        while not end.is_set():
            jobs.work(one, 0.02)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        end.set()
        thread.join(60)
        listener.close()


def body(packet: Packet) -> bytes:
    """An answer as it travels."""
    return pack_body({"numbers": packet.numbers, "texts": packet.texts}, packet.arrays)


# -- in a process of its own -----------------------------------------------------------------------


class Worker:
    """``fedpatchcore worker run`` below a folder; can be killed and started again.

    Args:
        words: of its file, beside site, data and socket.
        prefix: words before the command (another user).
    """

    def __init__(
        self, root: Path, data: Path, *, prefix: tuple[str, ...] = (), **words: object
    ) -> None:
        self.root, self.prefix = root, prefix
        root.mkdir(exist_ok=True)
        self.file = root / "worker.toml"
        given: dict[str, Any] = {"site": "plant-a", "data": str(data)}
        given["socket"] = str(root / "w.sock")
        given |= {key.replace("_", "-"): value for key, value in words.items()}
        self.socket = Path(given["socket"])
        self.file.write_text(worker_file(given, self.file), encoding="utf-8")
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(signal.SIGTERM)

    def start(self, *, ready: bool = True, **environment: str) -> Worker:
        """Start it; returns when it answers, unless ``ready`` is False."""
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "fedpatchcore.cli"]
                + ["worker", "run", str(self.file), "--state", str(self.root / "state")],
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if ready:
            until(self.answers, 120, "the worker did not start", every=0.1)
        return self

    def answers(self) -> bool:
        """Whether it is ready for work. Fails if it ended."""
        assert self.process.poll() is None, self.log
        try:
            return Link(self.socket).health()["state"] != "starting"
        except WorkerError:
            return False

    def health(self) -> Mapping[str, Any]:
        """What it says of itself."""
        return Link(self.socket).health()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int | None:
        """End it; its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        return process.wait(60)

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.root / "log").read_text(errors="replace")

    def start_with(self, **fault: object) -> Worker:
        """Start it so that faults can be put into its process, and with this one."""
        file = self.prepare(**fault)
        path = [str(ROOT / "tests/faults/inject"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return self.start(FAULT_FILE=str(file), PYTHONPATH=os.pathsep.join(path))

    def prepare(self, **fault: object) -> Path:
        """Another fault in place of the one before (``tests/faults/inject``); none: no fault."""
        file = self.root / "fault.json"
        file.unlink(missing_ok=True)
        file.with_name("fault.json.reached").unlink(missing_ok=True)
        if fault:
            file.with_name("new").write_text(json.dumps(fault))
            file.with_name("new").replace(file)
        return file

    def reach(self) -> None:
        """Wait until the fault has come."""
        file = self.root / "fault.json.reached"
        until(file.exists, 60, "the place of the fault was not reached")
