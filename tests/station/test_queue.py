"""Each image is judged once, whatever dies in between; what is told is what the bank says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.errors import StationError
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import LAST_IN_LINE, MOST_TRIES
from fedpatchcore.station.station import Station
from fedpatchcore.station.told import as_json
from fedpatchcore.web.moments import now
from tests.support.stations import drop, fitted, make_station, rows_of, stepped


def test_the_verdict_is_the_detectors_own(station: Station, tmp_path: Path) -> None:
    paths = [drop(tmp_path, "plate/a.png", 501), drop(tmp_path, "ring/b.png", 701, defect=True)]
    bench = stepped(station)
    assert station.watcher.look() == 2
    while station.worker.one(bench):
        pass
    detector = PatchCore.load(fitted()[1])
    told = {one.source: one for one in rows_of(station.place)}
    for path in paths:
        product = path.parent.name
        wanted, found = detector.predict(path, product), told[f"{product}/{path.name}"]
        assert found.product == product
        assert (found.score, found.threshold) == (wanted.score, wanted.threshold)
        assert found.verdict == ("defect" if wanted.defective else "ok")
        line = as_json(found, "line-1")
        assert [tuple(one.values()) for one in line["regions"]] == [
            (r.left, r.top, r.right, r.bottom, r.area, r.peak, r.x, r.y) for r in wanted.regions
        ]
        assert line["margin"] == pytest.approx(wanted.score / wanted.threshold - 1)
        assert line["size"] == [64, 64] and line["bank"] == bench.digest
    assert told["ring/b.png"].verdict == "defect" and told["plate/a.png"].verdict == "ok"


def test_the_same_image_is_one_row_and_another_content_is_another(
    station: Station, tmp_path: Path
) -> None:
    bench = stepped(station)
    path = drop(tmp_path, "a.png", 1)
    assert [station.watcher.look() for _ in range(3)] == [1, 0, 0]
    os.utime(path, (1, 1))  # touched: it is looked at again, and is the same image
    station.watcher.look()
    assert station.worker.one(bench) and not station.worker.one(bench)
    drop(tmp_path, "a.png", 2)
    drop(tmp_path, "b.png", 1)  # the content of another part, under a name of its own
    station.watcher.look()
    assert station.worker.one(bench) and station.worker.one(bench)
    assert not station.worker.one(bench)
    rows = rows_of(station.place)
    assert [one.source for one in rows] == ["a.png", "a.png", "b.png"]
    assert rows[0].digest == rows[2].digest != rows[1].digest
    assert all(one.state == "judged" for one in rows)


def test_a_restart_remembers_what_was_taken_in(make: Callable[..., Station], tmp_path: Path):
    first = make()
    for at in range(5):
        drop(tmp_path, f"{at}.png", at)
    assert first.watcher.look() == 5
    first.close()
    second = make_station(tmp_path)
    bench = stepped(second)
    read = []
    second.place.keep = lambda data: read.append(data)  # nothing is read again
    assert second.watcher.look() == 0 and read == []
    assert sum(second.worker.one(bench) for _ in range(6)) == 5
    second.close()


def test_one_that_died_over_an_image_begins_it_again_and_then_sets_it_aside(
    station: Station, tmp_path: Path
) -> None:
    drop(tmp_path, "killer.png", 1)
    drop(tmp_path, "other.png", 2)
    station.watcher.look()
    for _ in range(LAST_IN_LINE):
        assert station.queue.begin().source == "killer.png"  # and the process is gone
    bench = stepped(station)
    assert station.worker.one(bench) and rows_of(station.place)[1].state == "judged"
    for _ in range(MOST_TRIES - LAST_IN_LINE):
        assert station.queue.begin().source == "killer.png"
    assert not station.worker.one(bench)
    first, second = rows_of(station.place)
    assert first.state == "failed" and f"died {MOST_TRIES} times" in first.error
    assert second.state == "judged" and not station.worker.one(bench)


def test_a_verdict_is_noted_once_however_often_it_is_said(station: Station, tmp_path: Path):
    drop(tmp_path, "a.png", 700, defect=True)
    bench = stepped(station)
    station.queue._on_any = ("files",)
    station.watcher.look()
    job = station.queue.begin()
    found = bench.judge(station.place.image(job.digest), job.product)
    for _ in range(2):  # as when it died between the commit and the next look
        station.queue.judged(job, found, bench, [])
    from fedpatchcore.station.tables import Outgoing

    with station.place.database.read() as session:
        assert session.query(Outgoing).count() == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"no image at all", "not an 8- or 16-bit"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not an 8- or 16-bit"),
    ],
)
def test_what_cannot_be_read_is_told_by_name_and_the_line_goes_on(
    station: Station, tmp_path: Path, content: bytes, why: str
) -> None:
    bench = stepped(station)
    station.arrivals.take(content, "bad.png", "plate")
    drop(tmp_path, "good.png", 1)
    station.watcher.look()
    while station.worker.one(bench):
        pass
    bad, good = rows_of(station.place)
    assert bad.state == "failed" and why in bad.error
    assert str(tmp_path) not in bad.error and "bad.png" in bad.error
    assert good.state == "judged"


def test_a_product_that_the_bank_lacks_is_told(station: Station, tmp_path: Path) -> None:
    drop(tmp_path, "cog/a.png", 1)
    bench = stepped(station)
    station.watcher.look()
    station.worker.one(bench)
    assert "no section for product 'cog'" in rows_of(station.place)[0].error


def test_two_processes_are_not_one_station(station: Station, tmp_path: Path) -> None:
    with pytest.raises(StationError, match="a station runs in"):
        make_station(tmp_path)
    other = Place.open(tmp_path / "state")
    assert other.running()
    other.close()


def test_an_idle_station_writes_nothing(station: Station, tmp_path: Path) -> None:
    """Nothing waits: all that looks again and again begins no writing, so that none else waits."""
    bench = stepped(station)
    drop(tmp_path, "one.png")
    assert station.watcher.look() == 1 and station.worker.one(bench)
    looks = (
        lambda: station.worker.one(bench),
        station.watcher.look,
        station.sender.look,
        station.drift.look,
        station.keeper.look,
        lambda: station.checks.look(now()),
    )
    for look in looks:
        while look():
            pass
    told: list[str] = []
    event.listen(
        station.place.database.engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: told.append(statement),
    )
    for _ in range(20):
        assert not any(look() for look in looks)
    assert any(one.startswith("SELECT") for one in told)
    assert [one for one in told if not one.startswith("SELECT") and one != "BEGIN"] == []
    drop(tmp_path, "two.png")  # and it sees that there is something to do
    assert station.watcher.look() == 1 and station.worker.one(bench)
    assert "BEGIN IMMEDIATE" in told


def test_what_was_told_survives_a_loss_of_power(station: Station, tmp_path: Path) -> None:
    """A commit waits for the disk, but that which says that judging began: the next one does."""
    found: list[int] = []

    def note(session: Session) -> None:
        found.append(session.scalar(text("PRAGMA synchronous")))

    bench = stepped(station)
    drop(tmp_path, "a.png", 1)
    event.listen(Session, "before_commit", note)
    try:
        station.watcher.look()
        job = station.queue.begin()
        station.queue.judged(job, bench.judge(station.place.image(job.digest), "plate"), bench, [])
    finally:
        event.remove(Session, "before_commit", note)
    full, normal = 2, 1  # of SQLite
    assert found == [full, normal, full]
