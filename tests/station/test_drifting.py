"""The station watches itself: what is told, when, how often, to whom, and what ends it."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import ImageFilter
from sqlalchemy import select

from fedpatchcore.errors import StationError
from fedpatchcore.station.asking import state_of
from fedpatchcore.station.place import Place
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection, WatchRow
from fedpatchcore.web.audit import Actor
from tests.support.products import picture
from tests.support.stations import camera, drop, fitted, logged_in, make_station, rows_of, stepped

ANNA = Actor("anna")
FEW = {"drift-reference": 20, "drift-group": 20}


class Line:
    """Parts that were judged, written straight into the data base."""

    def __init__(self, station: Station, seed: int = 1) -> None:
        self.station, self.chance, self.number = station, random.Random(seed), 0

    def row(self, bank: str = "b1", **told: object) -> Inspection:
        self.number += 1
        around = {"score": (2.0, 0.2), "uncovered": (0.1, 0.01), "sharpness": (20.0, 1.0)}
        around["brightness"] = (120.0, 3.0)
        figures = {n: told.pop(n, 1.0) * self.chance.gauss(*at) for n, at in around.items()}
        values = {"source": f"{self.number}.png", "digest": f"{self.number:064d}", "size": 1}
        values |= {"product": "plate", "arrived_at": self.number, "judged_at": self.number}
        values |= {"urgent": 0, "state": "judged", "verdict": "ok", "threshold": 3.0}
        values |= {"bank": bank, "judged_by": "federated", "width": 64, "height": 64}
        return Inspection(**values | figures | told)

    def add(self, *rows: Inspection) -> None:
        with self.station.place.database.write() as session:
            session.add_all(rows)

    def go(self, count: int, **told: object) -> None:
        self.add(*(self.row(**told) for _ in range(count)))
        self.station.drift.look()


def watches(place: Place) -> list[WatchRow]:
    with place.database.read() as session:
        return list(session.scalars(select(WatchRow).order_by(WatchRow.id)))


def test_a_dirty_lens_is_told_once_with_its_pictures_and_stays_until_somebody_sees(
    make: Callable[..., Station],
) -> None:
    station = make(**FEW)
    line = Line(station)
    line.go(25)
    assert station.drift.alarms() == [] and station.health()["drift"] == []
    line.go(40, sharpness=0.5, score=1.5)
    (alarm,) = station.drift.alarms()
    assert (alarm.cause, alarm.product) == ("focus", "plate")
    charts = [one["chart"] for one in alarm.told["charts"]]
    assert len(charts) == len(set(charts)) and {"sharpness", "score"} <= set(charts)
    assert 25 <= alarm.first_id <= 27
    parts = alarm.told["charts"][0]["parts"]
    assert parts and min(parts) >= 24 and set(alarm.told["usual"]) <= set(range(1, 26))
    assert station.health()["drift"][0]["cause"] == "focus" and station.health()["well"]
    station.measure()
    text = station.measures.text().decode()
    assert "fedpatchcore_station_drift_alarms 1.0" in text
    assert 'drift_sum{figure="sharpness",product="plate"}' in text
    assert state_of(station.settings)["drift_alarms"][0].startswith("plate: focus since 20")
    station.drift.see(ANNA, alarm.id, "mended", "lens cleaned")
    line.go(40)
    assert station.drift.alarms() == []
    (seen,) = station.drift.alarms(ended=True)
    assert (seen.ended_by, seen.ended_how, seen.note) == ("anna", "mended", "lens cleaned")
    trail = "\n".join(station.place.trail.lines())
    assert "drift.alarm" in trail and "drift.seen" in trail
    station.place.trail.verify()


def test_one_that_is_mended_in_words_alone_comes_again(make: Callable[..., Station]) -> None:
    station = make(**FEW)
    line = Line(station)
    line.go(25)
    line.go(20, brightness=0.7)
    station.drift.see(ANNA, 1, "mended")
    line.go(20, brightness=0.7)
    assert [one.id for one in station.drift.alarms()] == [2]


def test_what_is_as_it_should_be_is_the_new_reference(make: Callable[..., Station]) -> None:
    station = make(**FEW)
    line = Line(station)
    line.go(25)
    line.go(20, brightness=0.7)
    station.drift.see(ANNA, 1, "usual")
    ((row, watch),) = station.drift.watches()
    assert row.id == 2 and not watch.ready
    line.go(60, brightness=0.7)
    assert station.drift.alarms() == []
    assert 75 < station.drift.watches()[0][1].references["brightness"].middle < 95


@pytest.mark.parametrize(("number", "how"), [(1, "never"), (2, "mended"), (1, "mended")])
def test_what_cannot_be_ended_is_refused(
    make: Callable[..., Station], number: int, how: str
) -> None:
    station = make(**FEW)
    with pytest.raises(StationError):
        station.drift.see(ANNA, number, how)


def test_another_bank_begins_another_watch_and_knows_the_rate_before(
    make: Callable[..., Station],
) -> None:
    station = make(**FEW)
    line = Line(station)
    line.add(*(line.row(verdict="ok" if at % 3 else "defect") for at in range(60)))
    station.drift.look()
    assert station.drift.watches()[0][1].rate == (10, 30)
    line.go(30, bank="b2", score=9.0)
    assert station.drift.alarms() == []  # other scores are of another bank
    first, second = watches(station.place)
    assert first.ended_at and not second.ended_at and second.bank == "b2"
    assert station.drift.watches()[0][1].before == (10, 30)
    line.go(5, bank="b1")
    assert [one.bank for one in watches(station.place)] == ["b1", "b2", "b1"]


def test_each_part_counts_once_whatever_dies(
    make: Callable[..., Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    station = make(**FEW)
    line = Line(station)
    line.add(*(line.row() for _ in range(30)))

    def dies(*_: object) -> None:
        raise StationError("gone in the middle")

    with monkeypatch.context() as patch:
        patch.setattr("fedpatchcore.drift.watch.Watch.told", dies)
        with pytest.raises(StationError):
            station.drift.look()
    assert watches(station.place) == []
    assert station.drift.look() == 30 and station.drift.look() == 0
    assert watches(station.place)[0].parts == 30


def test_a_restart_goes_on_where_it_was(make: Callable[..., Station], tmp_path: Path) -> None:
    station = make(**FEW)
    Line(station).go(25)
    kept = watches(station.place)[0].state
    station.close()
    other = make_station(tmp_path, **FEW)
    assert watches(other.place)[0].state == kept
    with other.place.database.write() as session:
        session.get(WatchRow, 1).state = {"rules": "damaged"}
    line = Line(other)
    line.number = 25
    line.go(3)  # one that cannot be read begins anew
    assert [one.parts for one in watches(other.place)] == [25, 3]
    other.close()


def test_parts_that_were_judged_before_there_was_a_watch_are_left_out(tmp_path: Path) -> None:
    place = Place.open(tmp_path / "state")
    place.close()
    with closing(sqlite3.connect(tmp_path / "state" / "station.db")) as file:
        columns = {row[1] for row in file.execute("PRAGMA table_info(inspection)")}
        version = file.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    assert {"watched", "own", "threshold_by"} <= columns and version >= "0002"


def test_really_judged_pictures_that_blur_are_told_as_such(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(**FEW)
    bench = stepped(station)
    for at in range(26):
        drop(tmp_path, f"{at}.png", 100 + at)
    station.watcher.look()
    while station.worker.one(bench):
        pass
    station.drift.look()
    ((row, watch),) = station.drift.watches()
    accepted = sum(one.verdict == "ok" for one in rows_of(station.place))
    assert watch.ready is (accepted >= 20) and row.bank == bench.digest
    assert watch.promised == bench.promised("plate") is not None
    for at in range(16):
        picture(300 + at).filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "in" / f"b{at}.png")
    station.watcher.look()
    while station.worker.one(bench):
        pass
    station.drift.look()
    (alarm,) = station.drift.alarms()
    assert alarm.cause == "focus"
    anna = logged_in(station)
    text = anna.get("/watch").text
    assert "dirty lens" in text and f"/parts/{alarm.told['charts'][-1]['parts'][-1]}/thumb" in text
    assert text.count("<svg") == 5 and "dirty lens" in anna.get("/").text
    german = anna.get("/watch", headers={"accept-language": "de"}).text
    assert "Objektiv" in german and "dirty lens" not in german


def test_training_images_are_the_reference_of_looks(
    make: Callable[..., Station], tmp_path: Path
) -> None:
    station = make(training=str(fitted()[0].parent), **FEW)
    bench = stepped(station)
    station.explainer.look(bench, station.stop)
    own = station.explainer.learnt(bench)["plate"]
    looks = own.looks * 2  # twelve are too few
    station.explainer._learnt = (
        bench.digest,
        {"plate": replace(own, looks=looks)},
    )
    Line(station).go(8, bank=bench.digest, sharpness=0.01)
    (alarm,) = station.drift.alarms()
    assert alarm.cause == "focus" and len(alarm.told["training"]) == 3
    caller = camera(station, "viewer")
    assert caller.get(f"/watch/{alarm.id}/training/0.jpg").status_code == 200
    for path in ("/watch/1/training/3.jpg", "/watch/9/training/0.jpg", "/watch/1/training/-1.jpg"):
        assert caller.get(path).status_code in (404, 422)
    with station.place.database.write() as session:
        from fedpatchcore.station.tables import Alarm

        one = session.get(Alarm, alarm.id)
        one.told = one.told | {"training": [str(tmp_path / "state" / "station.db")]}
    assert caller.get("/watch/1/training/0.jpg").status_code == 404


def test_people_end_alarms_on_the_page_by_their_role(make: Callable[..., Station]) -> None:
    station = make(**FEW)
    line = Line(station)
    line.go(25)
    line.go(20, brightness=0.7)
    ivo, lea = logged_in(station, "ivo", "inspector"), logged_in(station, "lea", "lead")

    def post(caller, path: str, **form: str) -> int:
        csrf = re.search(r'name="csrf" value="([^"]+)"', caller.get("/watch").text)[1]
        return caller.post(path, data={"csrf": csrf, **form}).status_code

    assert "new reference" not in ivo.get("/watch").text
    assert post(ivo, "/watch/1/usual") == 403
    assert post(ivo, "/watch/99/mended") == 400 and post(ivo, "/watch/0/mended") == 404
    assert post(ivo, "/watch/1/mended", note="x" * 1001) == 400
    assert post(ivo, "/watch/1/mended", note="lamp <changed>") == 303
    assert post(ivo, "/watch/1/mended") == 400
    assert "lamp &lt;changed&gt;" in ivo.get("/watch").text
    line.go(20, brightness=0.7)
    assert post(lea, "/watch/2/usual") == 303


def test_the_page_says_what_it_cannot_say_yet(make: Callable[..., Station]) -> None:
    station = make(**FEW)
    caller = camera(station, "viewer")
    assert "Nothing is watched before the first part" in caller.get("/watch").text
    Line(station).go(7)
    text = caller.get("/watch").text
    assert "Too few parts yet" in text and "7 / 20" in text
    assert "Nothing says yet how many parts are usually stopped" in text
