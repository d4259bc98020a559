"""What a command started ends with it, also what went into sessions of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.runs import leftovers
from fedpatchcore.runs.launch import LocalFlower
from fedpatchcore.runs.leftovers import those_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux alone tells")

PROGRAM = """#!/bin/sh
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ > "$FLWR_HOME/below"; while :; do sleep 0.05; done' &
while :; do sleep 0.05; done
"""
COMMAND = """
import sys, time
from pathlib import Path
from fedpatchcore.runs import leftovers
from tests.runs.test_leftovers import begun
leftovers.PATIENCE = 0.3
flower = begun(Path(sys.argv[1]), listen=True)
try:
    print((flower.home / "x" / "below").read_text(), flush=True)
    time.sleep(60)
finally:
    flower.stop()
"""


def until(so: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(folder: Path, listen: bool = False) -> LocalFlower:
    """A program with one below it, in a session of its own; both are deaf to a request to end."""
    program = folder / "flower-x"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    flower = LocalFlower(simulation=False, logs=folder)
    flower._bin = folder
    if listen:
        flower._told.listen()
    flower._spawn("x", ["flower-x"])
    below = flower.home / "x" / "below"
    until(lambda: below.exists() and bool(below.read_text().strip()))
    return flower


def there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_what_lies_in_another_session_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE", 0.3)
    flower = begun(tmp_path)
    flower.processes["x"].kill()  # as if it had ended before it was asked
    flower.processes["x"].wait()
    below = int((flower.home / "x" / "below").read_text())
    assert set(those_of(flower.home)) >= {below} and there(below)
    flower.stop()
    until(lambda: not there(below))
    assert not list(those_of(flower.home)) and not flower.home.exists()


@pytest.mark.parametrize(
    "kind", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_a_command_that_is_asked_to_end_leaves_nobody(tmp_path: Path, kind: signal.Signals) -> None:
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        below = int(process.stdout.readline())
        process.send_signal(kind)
        time.sleep(0.1)
        process.send_signal(kind)  # the impatient do not stop what ends the others
        assert process.wait(60) == 128 + kind
    until(lambda: not there(below))


def test_who_listens_already_goes_on_listening() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda kind, frame: heard.append(kind))
    try:
        told = leftovers.Told()
        told.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        told.done()
        assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
