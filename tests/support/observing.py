"""What the tests of observability share: a small federation, and processes beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from client_app.app import app as client_app
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.places import ROOT

__all__ = ["exporter", "federation", "fetch", "receiver", "spans"]


def federation(
    config: dict,
    sites_folder: Path,
    *,
    alter: Callable[[int, str, Message], object] = lambda node, kind, reply: reply,
) -> FakeGrid:
    """Run both apps over the three sites' folders in this process."""
    nodes = {
        at: {"site": name, "data": str(sites_folder / name)} for at, name in enumerate(NAMES, 11)
    }
    grid = FakeGrid(client_app, nodes, config, alter)
    server_app(grid, Context(1, 0, {}, RecordDict(), config))
    return grid


@contextmanager
def process(*command: str, said: str) -> Iterator[str]:
    """A process for the length of the block; yields what ``said`` matches in its first line."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            line = started.stdout.readline()
            found = re.search(said, line)
            assert found, line
            yield found.group(1)
        finally:
            started.terminate()


@contextmanager
def receiver(file: Path) -> Iterator[str]:
    """The OTLP receiver as a process; yields the endpoint."""
    script = str(Path(__file__).with_name("otlp_receiver.py"))
    with process(sys.executable, script, str(file), said=r"(\d+)") as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def exporter(folder: Path) -> Iterator[str]:
    """``fedpatchcore exporter`` as a process; yields the address of its metrics."""
    command = [sys.executable, "-m", "fedpatchcore.cli", "exporter", "--port", "0"]
    with process(*command, "--dir", str(folder), said=r"(http://\S+/metrics)") as address:
        yield address


def fetch(address: str) -> str:
    """The text behind an address."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def spans(file: Path) -> list[dict]:
    """What a receiver wrote."""
    return [json.loads(line) for line in file.read_text().splitlines()]
