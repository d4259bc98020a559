"""The watched folder: what is whole is taken in at once, what is being written is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.errors import StationError
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection
from fedpatchcore.station.whole import ends_itself
from tests.support.products import picture
from tests.support.stations import drop, encoded, logged_in, rows_of, stepped

KINDS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_tells_where_it_ends(kind: str) -> None:
    data = encoded(picture(1), kind)
    assert ends_itself(data) is True
    for share in (0.3, 0.6, 0.9, 0.99):
        assert not ends_itself(data[: int(share * len(data))])
    padded = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    if kind in ("PNG", "JPEG"):  # a copy whose place was made before its content came
        assert ends_itself(padded) is False


def test_a_slow_copy_is_taken_once_and_whole(station: Station, tmp_path: Path) -> None:
    data, path = encoded(picture(1)), tmp_path / "in" / "slow.png"
    bench = stepped(station)
    with path.open("wb", buffering=0) as target:
        for at in range(0, len(data), len(data) // 5):
            target.write(data[at : at + len(data) // 5])
            for _ in range(3):  # longer than settle-seconds without a byte
                station.watcher.look()
                time.sleep(0.03)
            assert len(rows_of(station.place)) == (at + len(data) // 5 >= len(data))
    assert station.worker.one(bench) and rows_of(station.place)[0].state == "judged"


def test_a_format_without_an_end_is_waited_for(station: Station, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tif"
    path.write_bytes(encoded(picture(1), "TIFF"))
    assert station.watcher.look() == 0  # it may go on
    time.sleep(0.06)
    assert station.watcher.look() == 1


def test_a_torso_is_given_up_and_told(make: Callable[..., Station], tmp_path: Path) -> None:
    station = make(**{"patience-seconds": 0.1})
    bench = stepped(station)
    (tmp_path / "in" / "cut.png").write_bytes(encoded(picture(1))[:900])
    assert station.watcher.look() == 0
    time.sleep(0.15)
    assert station.watcher.look() == 1
    station.worker.one(bench)
    assert "cut.png" in rows_of(station.place)[0].error


def test_what_is_no_image_or_hidden_or_linked_out_is_left(station: Station, tmp_path: Path) -> None:
    for name in ("notes.txt", ".a.png", "a.png.part", "Thumbs.db"):
        (tmp_path / "in" / name).write_bytes(encoded(picture(1)))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.png").write_bytes(encoded(picture(2)))
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    assert station.watcher.look() == 0


def test_a_folder_that_goes_away_is_waited_for_and_nothing_is_judged_twice(
    station: Station, tmp_path: Path
) -> None:
    for at in range(3):
        drop(tmp_path, f"{at}.png", at)
    assert station.watcher.look() == 3
    (tmp_path / "in").rename(tmp_path / "away")
    with pytest.raises(OSError):
        station.watcher.look()
    (tmp_path / "away").rename(tmp_path / "in")
    drop(tmp_path, "new.png", 9)
    assert station.watcher.look() == 1
    assert len(rows_of(station.place)) == 4


def test_files_leave_the_folder_once_they_are_held(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(taken="delete")
    path = drop(tmp_path, "plate/a.png", 1)
    data = path.read_bytes()
    assert station.watcher.look() == 1 and not path.exists()
    (row,) = rows_of(station.place)
    assert station.place.image(row.digest).read_bytes() == data
    drop(tmp_path, "plate/a.png", 1)  # the same again is the same image, and leaves as well
    station.watcher.look()
    station.watcher.look()
    assert not path.exists() and len(rows_of(station.place)) == 1


def test_a_full_disk_keeps_the_file_where_it_is(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(tmp_path, "a.png", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StationError, match="No space left"):
            station.watcher.look()
    assert rows_of(station.place) == []
    assert not list((tmp_path / "state" / "images").rglob("*.part"))
    assert station.watcher.look() == 1


def test_the_product_is_told_by_folder_then_name_then_setting(
    make: Callable[..., Station],
) -> None:
    station = make(**{"product-pattern": r"^(?P<product>[A-Z]+\d+)_"})
    product = station.arrivals.product
    assert product("ring/x.png") == "ring"
    assert product("ring/K12_x.png") == "ring"
    assert product("K12_0001.png") == "K12"
    assert product("x.png") == "plate"
    assert product("ring/x.png", "cog") == "cog"
    with pytest.raises(StationError, match="cannot name a product"):
        product("x", "a\nb")


def test_too_large_a_file_is_told_without_being_read(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(**{"largest-mb": 0.001})
    drop(tmp_path, "a.png", 1)
    assert station.watcher.look() == 1
    (row,) = rows_of(station.place)
    assert row.state == "failed" and "largest-mb" in row.error
    anna, tile = logged_in(station), "images not judged in the last 24 hours"
    assert "NOT JUDGED" in anna.get("/").text
    assert f"<b>1</b><span>{tile}" in anna.get("/").text
    assert "a.png" in anna.get("/history?verdict=failed").text
    with station.place.database.write() as session:
        session.get(Inspection, row.id).judged_at -= 86_400_000
    assert tile not in anna.get("/").text


def test_backpressure_is_told_and_the_rest_comes_later(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(**{"most-waiting": 2})
    bench = stepped(station)
    for at in range(5):
        drop(tmp_path, f"{at}.png", at)
    assert station.watcher.look() == 2 and station.health()["waiting"] == 2
    station.worker.one(bench)
    assert station.watcher.look() == 1
    for _ in range(9):
        station.worker.one(bench)
        station.watcher.look()
    assert len(rows_of(station.place)) == 5
