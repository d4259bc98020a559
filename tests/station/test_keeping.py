"""Retention deletes for good, the oldest first, never what waits; messages arrive once noted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import update

from fedpatchcore.errors import ConfigError
from fedpatchcore.station import broker, keeping, sending
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection
from fedpatchcore.web.moments import now
from tests.support.stations import drop, rows_of, stepped

DAY = 86_400_000


def judged(station: Station, tmp: Path, count: int, **how: bool) -> None:
    bench = stepped(station)
    for at in range(count):
        drop(tmp, f"part-{at}.png", 700 + at, **how)
    station.watcher.look()
    while station.worker.one(bench):
        pass


def test_what_is_too_old_goes_for_good(make: Callable[..., Station], tmp_path: Path) -> None:
    station = make(**{"keep-days": 7})
    judged(station, tmp_path, 3)
    drop(tmp_path, "waits.png", 9)
    station.watcher.look()
    digests = [one.digest for one in rows_of(station.place)]
    with station.place.database.write() as session:
        old = update(Inspection).where(Inspection.source.in_(["part-0.png", "waits.png"]))
        session.execute(old.values(arrived_at=now() - 8 * DAY))
    assert station.keeper.look() == 1
    assert [one.source for one in rows_of(station.place)] == [
        "part-1.png",
        "part-2.png",
        "waits.png",
    ]
    assert [station.place.image(one).exists() for one in digests] == [False, True, True, True]
    kept = b"".join(
        file.read_bytes()
        for file in station.place.folder.glob("station.db*")
        if not file.name.endswith("-shm")
    )
    assert digests[0].encode() not in kept and digests[1].encode() in kept
    assert station.watcher.look() == 0  # the file lies there still, and is not judged again
    assert "images.deleted" in list(station.place.trail.lines())[-1]


def test_what_is_too_much_goes_the_oldest_first(
    make: Callable[..., Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AT_ONCE", 2)
    station = make(**{"keep-gb": 1})
    judged(station, tmp_path, 5)
    sizes = [one.size for one in rows_of(station.place)]
    object.__setattr__(station.settings, "keep_gb", (sum(sizes) - sizes[0] / 2) / 1e9)
    assert station.keeper.look() == 2
    assert rows_of(station.place)[0].source == "part-2.png"


def test_the_same_content_stays_while_one_row_needs_it(station: Station, tmp_path: Path) -> None:
    bench = stepped(station)
    for name in ("a.png", "b.png"):
        drop(tmp_path, name, 1)
    station.watcher.look()
    while station.worker.one(bench):
        pass
    with station.place.database.write() as session:
        session.execute(update(Inspection).where(Inspection.id == 1).values(arrived_at=1))
    assert station.keeper.look() == 1
    (row,) = rows_of(station.place)
    assert station.place.image(row.digest).exists()


def test_what_a_death_left_is_swept(station: Station, tmp_path: Path) -> None:
    orphan = station.place.keep(b"an image whose row was never written")
    half = station.place.image(orphan).with_name(f"{orphan}.77.part")
    half.write_bytes(b"half")
    judged(station, tmp_path, 1)
    assert station.keeper.sweep() == 2
    assert not station.place.image(orphan).exists() and not half.exists()
    assert station.place.image(rows_of(station.place)[0].digest).exists()


@pytest.fixture
def relay() -> Iterator[tuple[str, list]]:
    """A relay that refuses twice before it takes what is posted."""
    taken: list[tuple[int, str, dict]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = 500 if len(taken) < 2 else 200
            taken.append((status, self.headers["idempotency-key"], told))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/exit", taken
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_post_is_tried_until_it_is_taken_and_says_who_it_is(
    make: Callable[..., Station], tmp_path: Path, relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, taken = relay
    monkeypatch.setattr(sending, "FIRST", 0.0)
    station = make(webhook=url)
    judged(station, tmp_path, 1, defect=True)
    assert [station.sender.look() for _ in range(4)] == [0, 0, 1, 0]
    assert [status for status, _, _ in taken] == [500, 500, 200]
    assert {key for _, key, _ in taken} == {"line-1/1"}
    assert taken[-1][2]["verdict"] == "defect" and station.sender.trouble == ""


def test_a_post_that_nobody_takes_is_given_up_and_told(
    make: Callable[..., Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = make(webhook="http://127.0.0.1:9/x", **{"webhook-minutes": 0.00001})
    judged(station, tmp_path, 1, defect=True)
    station.sender.look()
    assert station.sender.undelivered() == 1 and station.health()["undelivered"] == 1
    assert "webhook" in station.health()["trouble"]["sending"]
    assert rows_of(station.place)[0].verdict == "defect"  # and the verdict stands


def test_files_of_each_verdict_lie_in_the_folder(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(out=str(tmp_path / "out"))
    judged(station, tmp_path, 1, defect=True)
    assert station.sender.look() == 1
    names = sorted(one.name for one in (tmp_path / "out").rglob("*") if one.is_file())
    assert names == [f"00000001-part-0.{one}" for one in ("heatmap.png", "json", "overlay.png")]
    told = json.loads(next((tmp_path / "out").rglob("*.json")).read_text())
    assert told["verdict"] == "defect" and told["regions"]


def test_a_broker_that_is_not_there_keeps_the_message(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    pytest.importorskip("aiomqtt", reason="needs the extra 'mqtt'")
    station = make(mqtt="127.0.0.1:9")
    judged(station, tmp_path, 1)
    assert station.sender.look() == 0 and "broker" in station.sender.trouble
    assert station.sender.look() == 0  # left alone for a while
    assert station.sender.undelivered() == 0  # for it is tried again
    station.close()
    elsewhere = make()  # the same station, told of no broker any longer
    assert elsewhere.sender.look() == 0 and elsewhere.sender.undelivered() == 1


def test_what_a_broker_never_took_is_told_when_it_goes_with_its_image(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    pytest.importorskip("aiomqtt", reason="needs the extra 'mqtt'")
    station = make(mqtt="127.0.0.1:9", **{"keep-days": 7})
    judged(station, tmp_path, 2)
    with station.place.database.write() as session:
        session.execute(update(Inspection).values(arrived_at=now() - 8 * DAY))
    assert station.keeper.look() == 2
    assert '"unsent": 2' in list(station.place.trail.lines())[-1].replace('":2', '": 2')


@pytest.mark.parametrize(
    "told", ["broker", "broker:", "broker:mqtt", "mqtt://broker:1883", "a b:1"]
)
def test_an_address_that_is_none_is_refused(make: Callable[..., Station], told: str) -> None:
    with pytest.raises(ConfigError, match="mqtt.*HOST:PORT"):
        make(mqtt=told)


def test_a_broker_without_the_extra_is_refused_with_the_fix(
    make: Callable[..., Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpatchcore\[mqtt\]'"):
        make(mqtt="127.0.0.1:9")
