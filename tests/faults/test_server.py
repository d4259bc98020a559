"""The server's parts die; its disk is full; its files are damaged."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import BankVersion, Run
from tests.faults.conftest import CONFIG, EXTRACT, TRAIN, reached
from tests.support.field import Field, pids, until
from tests.support.names import NAMES

USED = 12  # training images a site: all of them teach

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Put a file system of a given size on a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a file system of limited size needs root")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def kill_serverapp(field: Field) -> None:
    found = pids("flwr-serverapp")
    mine = [p for p in found if str(field.port) in Path(f"/proc/{p}/cmdline").read_text()]
    assert mine, "no ServerApp process"
    for pid in mine:
        os.kill(pid, signal.SIGKILL)


def seen(room: Room) -> tuple[str, str, int]:
    """The only run in the control room, its state, and how many banks there are."""
    room.mirror.look()
    with room.database.read() as session:
        (run,) = session.scalars(select(Run))
        return run.folder, run.state, len(session.scalars(select(BankVersion)).all())


def extracted(field: Field, name: str = "run") -> dict[str, int]:
    """Images extracted in all train replies of a run, by site."""
    total: dict[str, int] = {}
    for event in field.events(name, "trained"):
        total[event["site"]] = total.get(event["site"], 0) + event["extracted"]
    return total


def test_superlink_killed_and_restarted(
    field: Field, inject: Callable, undisturbed, row, tmp_path: Path
) -> None:
    """SuperLink killed in the middle of a round and restarted, watched by a control room."""
    field.start_server()
    field.register()
    slow = inject("south", where=EXTRACT, do="hang", after=2, seconds=25)
    field.start_sites("north", "west")
    field.start_site("south", **slow)
    run = field.submit("run", {**CONFIG, "num-rounds": 2})
    until(reached(slow).exists, 300, "extraction was not reached")
    field.kill("superlink")
    room = Room.open(field.out, tmp_path / "state")
    assert seen(room) == ("run", "running", 0)
    field.start_superlink()
    assert field.wait(run) == "finished:completed"
    assert seen(room) == ("run", "finished", 1)
    room.close()
    assert len(field.events("run", "started")) == 1
    assert extracted(field) == dict.fromkeys(NAMES, USED)
    assert field.bank("run") == undisturbed(2)
    row("the run goes on, nothing is extracted twice; bank as undisturbed; the control room saw it")


@pytest.mark.parametrize("at", [1, 2])
def test_serverapp_killed_and_resumed(
    at: int, field: Field, inject: Callable, undisturbed, row
) -> None:
    """ServerApp process killed in round 1 and in round 2, then resumed."""
    field.start_server()
    field.register()
    slow = inject("south", where=TRAIN, do="hang", after=at - 1, seconds=20)
    field.start_sites("north", "west")
    field.start_site("south", **slow)
    run = field.submit("run", {**CONFIG, "num-rounds": 2})
    until(reached(slow).exists, 300, "the round was not reached")
    field.until_event("run", "trained", round=at, site="north")
    kill_serverapp(field)
    assert field.wait(run) == "finished:failed"
    again = field.submit("again", {**CONFIG, "num-rounds": 2, "resume": str(field.out / "run")})
    assert field.wait(again) == "finished:completed"
    assert [e["resumed_after"] for e in field.events("run", "started")] == [0, at - 1]
    resumed = field.events("run").index(field.events("run", "started")[1])
    after = [e for e in field.events("run")[resumed:] if e["event"] == "trained"]
    assert {e["site"]: e["extracted"] for e in after}["north"] == 0
    assert field.bank("run") == undisturbed(2)
    row(
        f"in round {at}: resumed after round {at - 1}, nothing extracted again; bank as undisturbed"
    )


def test_disk_full_at_the_server(field: Field, small_disk, undisturbed, row) -> None:
    """Disk full at the server while a checkpoint is written."""
    small_disk(field.out, "2m")
    field.start_server()
    field.register()
    field.start_sites()
    run = field.submit("run", {**CONFIG, "num-rounds": 2})
    field.until_event("run", "checkpoint", round=1)
    filler = field.out / "filler"
    left = os.statvfs(field.out).f_bavail * os.statvfs(field.out).f_frsize
    filler.write_bytes(b"\0" * (left - 16_000))  # events fit, a bank does not
    assert field.wait(run) == "finished:failed"
    told = field.flwr("log", run, "--show")
    assert "No space left on device" in told
    assert "cannot write checkpoint" in told
    assert not list((field.out / "run" / "rounds").glob(".*"))  # no half-written one is left
    filler.unlink()
    again = field.submit("again", {**CONFIG, "num-rounds": 2, "resume": str(field.out / "run")})
    assert field.wait(again) == "finished:completed"
    assert field.events("run", "started")[-1]["resumed_after"] == 1
    assert field.bank("run") == undisturbed(2)
    row("run stopped: cannot write checkpoint (No space left on device); resumed when freed")


def test_disk_full_at_a_site(field: Field, small_disk, undisturbed, row) -> None:
    """Disk full at a site while its cache is written."""
    small_disk(field.home_of("south") / "cache", "160k")
    field.start_server()
    field.register()
    field.start_sites()
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    assert field.bank("run") == undisturbed()
    told = field.log("south")
    assert "cannot be written (No space left on device): going on without it" in told
    assert not list((field.home_of("south") / "cache").rglob("*.part"))
    again = field.submit("again", CONFIG)
    assert field.wait(again) == "finished:completed"
    assert field.bank("again") == undisturbed()
    south = next(e for e in field.events("again", "trained") if e["site"] == "south")
    assert 0 < south["cached"] < USED  # what was written before the disk was full is whole
    row("said at the site, which goes on without a cache; bank as undisturbed")


def test_damaged_files_at_start(field: Field, undisturbed, row) -> None:
    """A checkpoint's bank, coreset or history damaged when a run is resumed."""
    field.start_server()
    field.register()
    field.start_sites()
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    last = field.out / "run" / "rounds" / "0001"
    for name in ("bank.safetensors", "coresets/0001.safetensors", "history.json"):
        whole = (last / name).read_bytes()
        damaged = bytearray(whole)
        damaged[-1] ^= 1
        (last / name).write_bytes(damaged if name.endswith("safetensors") else whole[:-20])
        again = field.submit("again", {**CONFIG, "num-rounds": 2, "resume": str(last.parents[1])})
        assert field.wait(again) == "finished:failed"
        told = field.flwr("log", again, "--show")
        assert "run stopped" in told
        assert str(last / name) in told.replace("\n", "")
        assert "damaged" in told
        (last / name).write_bytes(whole)
    assert field.bank("run") == undisturbed()
    row("refused by the file's name; the run's bank is untouched")
