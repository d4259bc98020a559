"""An image is taken in, judged and told when it comes, not when somebody looks the next time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.station import bell as bells
from fedpatchcore.station import sending, working
from fedpatchcore.station.bell import Bell
from fedpatchcore.station.station import Station
from tests.support.products import picture
from tests.support.stations import camera, drop, encoded, rows_of

NEVER = 3600.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of its folders")


@pytest.fixture
def bell(tmp_path: Path):
    made = Bell()
    made.hang(tmp_path)
    yield made
    made.close()


@linux
def test_it_rings_for_what_is_whole(bell: Bell, tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb") as file:
        file.write(b"1")
        file.flush()
        assert not bell.wait(0.02)  # it may go on
    assert bell.wait(30) and not bell.wait(0.02)
    (tmp_path / "written").rename(tmp_path / "renamed")
    assert bell.wait(30)
    (tmp_path / ".hidden").write_bytes(b"1")  # as whoever renames what is whole
    assert not bell.wait(0.02)
    (tmp_path / "renamed").read_bytes()
    (tmp_path / "renamed").unlink()
    assert not bell.wait(0.02)
    (tmp_path / "folder").mkdir()
    assert bell.wait(30)
    (tmp_path / "folder" / "file").write_bytes(b"1")  # nobody hung it there
    assert not bell.wait(0.02)
    assert bell.hang(tmp_path / "folder") and bell.hang(tmp_path / "folder")
    (tmp_path / "folder" / "other").write_bytes(b"1")
    assert bell.wait(30)


@linux
def test_what_matters_to_nobody_does_not_put_a_look_off(bell: Bell, tmp_path: Path) -> None:
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            (tmp_path / ".hidden").write_bytes(b"1")

    thread = threading.Thread(target=disturb)
    thread.start()
    assert not bell.wait(0.2)  # and comes back
    over.set()
    thread.join()


@linux
def test_a_folder_that_went_and_came_again_is_hung_anew(bell: Bell, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    for _ in range(3):
        inner.mkdir()
        assert bell.hang(inner) and bell.wait(30)
        (inner / "file").write_bytes(b"1")
        assert bell.wait(30)
        (inner / "file").unlink()
        inner.rmdir()
        assert not bell.wait(0.02)
    assert len(bell._folders) == 1  # those that are gone are let go of
    assert not bell.hang(inner)


def test_by_hand_and_where_nobody_tells(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bells, "_inotify", lambda: (-1, None))
    made = Bell()
    assert not made.hang(tmp_path) and not made.wait(0.01)
    for _ in range(100_000):  # more than a pipe holds
        made.ring()
    assert made.wait(NEVER) and not made.wait(0.01)
    made.close()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def asleep(make: Callable[..., Station], tmp_path: Path, monkeypatch) -> Station:
    """A station in which nobody looks by itself before an hour is over."""
    station = make(**{"poll-seconds": NEVER, "out": str(tmp_path / "out"), "drift": False})
    station.start()
    for room in (working, sending):
        monkeypatch.setattr(room, "IDLE", NEVER)
    until(lambda: station.watcher.last)
    time.sleep(1.2)  # all have gone to sleep with the new times
    return station


@linux
def test_a_part_goes_through_without_anybody_looking(asleep: Station, tmp_path: Path) -> None:
    drop(tmp_path, "a.png", 1)
    until(lambda: list((tmp_path / "out").rglob("*a.json")))
    drop(tmp_path, "plate/b.png", 2)  # in a folder that is new
    until(lambda: list((tmp_path / "out").rglob("*b.json")))
    for at in range(20):
        drop(tmp_path, f"plate/{at}.png", 10 + at)
    until(lambda: len(list((tmp_path / "out").rglob("*.json"))) == 22)
    assert all(one.state == "judged" for one in rows_of(asleep.place))


def test_so_does_one_that_a_caller_sends(asleep: Station, tmp_path: Path) -> None:
    told = camera(asleep).post("/v1/inspect?name=a", content=encoded(picture(1)))
    assert told.status_code == 200 and told.json()["state"] == "judged"
    until(lambda: list((tmp_path / "out").rglob("*.json")))
