"""The process itself: the link on its console, kill -9 in mid-run, the command that verifies."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.serving import serve
from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError, ControlError
from fedpatchcore.runs.launch import free_port
from fedpatchcore.web.door import LOOPBACK
from tests.support.control import PASSWORD, add_run, append, open_room, run_events
from tests.support.places import ROOT
from tests.support.processes import command


@contextmanager
def served(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen, str]]:
    """A control room as a process, and what it said."""
    words = ["control", "serve", folder / "runs", "--state", folder / "state"]
    log = folder / f"log-{time.monotonic_ns()}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpatchcore.cli", *words, "--listen", f"127.0.0.1:{port}"],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        end = time.monotonic() + 300
        while "control room of" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield process, log.read_text()
    finally:
        process.kill()
        process.wait()


def until(found, wanted: str) -> None:
    end = time.monotonic() + 90
    while wanted not in found():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def caller() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=180) as found:
        yield found


@pytest.mark.slow
def test_killed_in_mid_run_it_reads_on_and_knows_its_people(
    tmp_path: Path, caller: httpx.Client
) -> None:
    (tmp_path / "runs").mkdir()
    port, events = free_port(), run_events()
    base = f"http://127.0.0.1:{port}"
    with served(tmp_path, port) as (process, said):
        link = re.search(r"http://\S+/join/\S+", said)[0]
        caller.base_url = base
        told = {"name": "anna", "password": PASSWORD, "again": PASSWORD}
        assert caller.post(link, data=told).status_code == 303
        room = Room.open(tmp_path / "runs", tmp_path / "state")
        folder = add_run(room, "one", events[:4])
        room.close()
        until(lambda: caller.get("/overview").text, "0 of 2 sites answered")
        with caller.stream("GET", "/live", timeout=180) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("event")) == "event: hello"
            append(folder, events[4:5])
            assert next(line for line in lines if line == "event: changed")
        process.send_signal(signal.SIGKILL)
        process.wait()
    append(folder, events[5:])
    with served(tmp_path, port) as (process, said):
        assert "/join/" not in said
        until(lambda: caller.get("/runs/1").text, "finished")
        done = command(tmp_path, "control", "verify", "--state", tmp_path / "state", table={})
        assert done.returncode == 0 and "every record is as it was written" in done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) in (0, -signal.SIGTERM)


def test_beyond_loopback_it_takes_a_certificate(room: Room) -> None:
    with pytest.raises(ConfigError, match="--certfile and --keyfile"):
        serve(room, Address("0.0.0.0", 1))
    assert LOOPBACK == ("127.0.0.1", "localhost", "[::1]")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_address_that_is_taken_is_told(room: Room) -> None:
    import socket

    told = pytest.raises(ControlError, match="cannot listen on")
    with socket.create_server(("127.0.0.1", 0)) as taken, told:
        serve(room, Address("127.0.0.1", taken.getsockname()[1]))


def test_the_command_verifies_an_export_and_makes_a_link(tmp_path: Path, monkeypatch) -> None:
    from typer.testing import CliRunner

    from fedpatchcore.cli.control import control

    room = open_room(tmp_path)
    room.people.invite(CONSOLE, "x", "viewer")
    export = tmp_path / "trail.jsonl"
    export.write_text("".join(f"{line}\n" for line in room.trail.lines()))
    room.close()
    run = CliRunner().invoke
    assert "head 1:" in run(control, ["verify", str(export)]).output
    export.write_text(export.read_text().replace('"x"', '"y"'))
    assert isinstance(run(control, ["verify", str(export)]).exception, ControlError)
    state = str(tmp_path / "state")
    made = run(control, ["link", "bert", "--role", "viewer", "--state", state])
    secret = re.search(r"/join/(\S+)", made.output)[1]
    again = open_room(tmp_path)
    assert again.people.invited(secret).name == "bert"
    again.close()
    nowhere = run(control, ["verify", "--state", str(tmp_path / "none")]).exception
    assert isinstance(nowhere, ControlError) and not (tmp_path / "none").exists()
