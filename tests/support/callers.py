"""Callers of a worker's socket, and work that is easy to watch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from fedpatchcore.errors import Halted, WorkerError
from fedpatchcore.service.bodies import pack_body
from fedpatchcore.service.frames import Kind, read_frame
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
from fedpatchcore.timing.halting import checkpoint
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker.jobs import Job
from tests.support.places import ROOT
from tests.support.workers import Served, body

__all__ = [
    "ASKED",
    "Gate",
    "as_another",
    "connected",
    "echo",
    "honest",
    "in_thread",
    "request_body",
]

ASKED = Request("facts", {}, Packet(texts={"round": 1}), run="7")


def echo(job: Job) -> tuple[bytes, bool]:
    return body(Packet(texts={"run": job.request.run})), True


class Gate:
    """Work that waits until it is let go, a minute at most; it can be given up."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, job: Job) -> tuple[bytes, bool]:
        with job.watch("extract", {}):
            until = time.monotonic() + 60
            while not self.go.wait(0.02) and time.monotonic() < until:
                try:
                    checkpoint()
                except Halted as error:
                    return body(Packet(texts={"failure": str(error)})), False
        return echo(job)


def in_thread(link: Link, request: Request = ASKED) -> tuple[threading.Thread, list]:
    """Ask in a thread of its own; the answer, or what was raised, lies in the list."""
    got: list = []

    def ask() -> None:
        try:
            got.append(link.answer(request))
        except WorkerError as error:
            got.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, got


def connected(path: Path) -> socket.socket:
    """As a node connects, by hand."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(10)
    found.connect(str(path))
    assert read_frame(found).kind == Kind.HELLO
    return found


def request_body(request: Request = ASKED, **told: object) -> bytes:
    return pack_body({**request.told(), **told}, request.packet.arrays)


def honest(served: Served) -> None:
    """Whatever was sent before, the next request is answered."""
    request = Request("facts", {}, Packet(), run=str(time.monotonic_ns()))
    assert served.link().answer(request).texts["run"] == request.run


AS_ANOTHER = """
import os, sys
from pathlib import Path
from fedpatchcore.errors import WorkerError
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
os.setgid(65534); os.setuid(int(sys.argv[2]))
try:
    print(Link(Path(sys.argv[1])).answer(Request("facts", run="theirs")).texts)
except WorkerError as error:
    print(type(error).__name__, error)
"""


def as_another(path: Path, user: int = 65534) -> str:
    """What a process of another user gets for a request; takes root."""
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, str(path), str(user)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
