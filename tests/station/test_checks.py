"""Passed parts drawn by lot: who is drawn, that a person is asked, and what follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select

from fedpatchcore.metrics.rates import Rate
from fedpatchcore.station.checks import share_of, shifts_between
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Draw, Inspection
from fedpatchcore.web.audit import Actor
from tests.support.stations import camera, drop, logged_in, rows_of, stepped

ANNA = Actor("anna")
BEGINS = [360, 840, 1320]
START = round(datetime(2026, 3, 4, 5, 0).timestamp() * 1000)
HOUR = 3_600_000


def fill(station: Station, at: int, count: int, verdict: str = "ok", state: str = "judged") -> None:
    """So many parts that arrived at a moment."""
    with station.place.database.write() as session:
        for one in range(count):
            told = f"{verdict}-{at}-{one}"
            row = Inspection(source=told, digest=f"{hash(told):064x}"[-64:], size=1)
            row.product, row.arrived_at, row.urgent = "plate", at + one, 0
            row.state, row.verdict, row.score, row.threshold = state, verdict, 0.5, 1.0
            session.add(row)


def drawn(station: Station) -> list[int]:
    with station.place.database.read() as session:
        mine = select(Inspection.id).where(Inspection.drawn > 0).order_by(Inspection.id)
        return list(session.scalars(mine))


def test_shifts_follow_one_another_whole() -> None:
    last = START + 50 * HOUR
    found = list(shifts_between(START, last, BEGINS))
    assert [number for number, _, _ in found] == [2, 0, 1, 2, 0, 1, 2]
    assert all(one[2] == other[1] for one, other in itertools.pairwise(found))
    assert found[0][1] < START < found[0][2] and found[-1][2] <= last < found[-1][2] + 8 * HOUR
    assert [share_of(10, one, 3) for one in range(3)] == [4, 3, 3]
    assert sum(share_of(1, one, 3) for one in range(3)) == 1


def test_a_draw_takes_passed_parts_of_a_shift_that_ended_once(station: Station) -> None:
    fill(station, START - HOUR, 50)
    assert station.checks.look(START) == 0  # from before: never to be looked at
    fill(station, START + 2 * HOUR, 40)
    fill(station, START + 3 * HOUR, 40, "defect")
    assert station.checks.look(START + 8 * HOUR) == 0  # the shift goes on
    assert station.checks.look(START + 10 * HOUR) == 4
    rows = {one.id: one for one in rows_of(station.place)}
    assert {rows[one].verdict for one in drawn(station)} == {"ok"}
    assert all(rows[one].arrived_at >= START + 2 * HOUR for one in drawn(station))
    first = drawn(station)
    for later in (10, 11, 12):
        assert station.checks.look(START + later * HOUR) == 0
    assert drawn(station) == first
    with station.place.database.read() as session:
        told = [(one.passed, one.taken) for one in session.scalars(select(Draw))]
    assert told[0] == (0, 0) and told[-1] == (40, 4)


def test_a_shift_with_images_that_wait_is_drawn_from_later(station: Station) -> None:
    station.checks.look(START)
    fill(station, START + 2 * HOUR, 5)
    fill(station, START + 3 * HOUR, 1, "", "waiting")
    end = START + 9 * HOUR
    assert station.checks.look(end + 1000) == 0 and drawn(station) == []
    assert station.checks.look(end + 2 * HOUR) == 4  # it has waited long enough


@pytest.mark.parametrize("other", [{"checked-seed": 7}, {"station": "line-2"}])
def test_the_lot_hangs_on_seed_and_name_alone(make: Callable[..., Station], other: dict) -> None:
    lots = []
    for told in ({}, {}, other):
        station = make(**told)
        station.checks.look(START)
        if not rows_of(station.place):
            fill(station, START + 2 * HOUR, 200)
        with station.place.database.write() as session:
            session.query(Inspection).update({"drawn": 0})
            session.query(Draw).filter(Draw.id > 1).delete()
        station.checks.look(START + 10 * HOUR)
        lots.append(drawn(station))
        station.close()
    assert lots[0] == lots[1] != lots[2] and len(lots[0]) == 4


def test_every_part_is_as_likely_as_any_other(station: Station) -> None:
    """Of 20 parts 4 are drawn: over 2,000 seeds each about 400 times, within five deviations."""
    counts = dict.fromkeys(range(1, 21), 0)
    for seed in range(2000):
        station.checks.settings = station.settings.model_copy(update={"checked_seed": seed})
        for one in sorted(counts, key=station.checks._lot)[:4]:
            counts[one] += 1
    assert all(abs(one - 400) < 5 * 17.9 for one in counts.values())


def test_nothing_is_drawn_where_none_is_asked_for(make: Callable[..., Station]) -> None:
    station = make(**{"checked-a-day": 0})
    station.checks.look(START)
    fill(station, START + 2 * HOUR, 20)
    assert station.checks.look(START + 10 * HOUR) == 0 and drawn(station) == []


def test_after_a_long_halt_old_shifts_are_left_alone(station: Station) -> None:
    station.checks.look(START)
    fill(station, START + 2 * HOUR, 20)
    assert station.checks.look(START + 24 * 30 * HOUR) == 0


def test_words_on_drawn_parts_make_a_rate_of_their_own(station: Station) -> None:
    station.checks.look(START)
    fill(station, START + 2 * HOUR, 30)
    station.checks.look(START + 10 * HOUR)
    lot = drawn(station)
    suspected = [one.id for one in rows_of(station.place) if one.id not in lot][:5]
    for number in suspected:  # whoever looks for defects finds them
        station.words.say(ANNA, number, "defect")
    for number, word in zip(lot, ("good", "defect", "unsure"), strict=False):
        station.words.say(ANNA, number, word)
    (real,) = station.words.real()
    assert real.missed == Rate(6, 7) and real.drawn == Rate(1, 2)
    assert (real.to_check, real.drawn_unsure) == (1, 1)
    station.words.undo(ANNA, lot[1])
    (real,) = station.words.real()
    assert real.drawn == Rate(0, 1) and real.to_check == 2
    assert camera(station).get("/v1/rates").status_code == 403
    told = camera(station, "viewer", "eye").get("/v1/rates").json()
    assert told == [real.told()]
    low, high = Rate(0, 1).interval
    assert told[0]["missed_of_drawn"] == {
        "count": 0,
        "of": 1,
        "share": 0.0,
        "low": low,
        "high": high,
    }


def judged(station: Station, tmp_path, seed: int) -> None:
    drop(tmp_path, f"plate/good-{seed}.png", seed)
    station.watcher.look()
    while station.worker.one(station.worker.bench):
        pass


def test_a_person_is_asked_by_the_page(make: Callable[..., Station], tmp_path) -> None:
    station = make()
    stepped(station)
    for seed in range(600, 606):
        judged(station, tmp_path, seed)
    now = rows_of(station.place)[0].arrived_at
    station.checks._note(0, now - HOUR, [], 0)
    station.checks.look(now + 25 * HOUR)
    lot = drawn(station)
    assert lot
    anna = logged_in(station)
    assert f"<b>{len(lot)}</b>" in anna.get("/").text and 'href="/checks"' in anna.get("/").text
    page = anna.get("/stopped").text  # nothing was stopped: the lot comes up
    assert "drawn by lot: is it good?" in page and "Check these passed parts" in page
    assert f"/parts/{lot[0]}/word" in page and 'data-key="c"' in page
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    told = anna.post(f"/parts/{lot[0]}/word", data={"csrf": csrf, "says": "good"})
    assert told.headers["location"] == "/checks"
    after = anna.get("/checks").text
    assert (f"/parts/{lot[1]}/word" in after) if len(lot) > 1 else ("Nothing waits" in after)
    assert "drawn by lot" in anna.get("/history").text
    anna.post("/parts/undo", data={"csrf": csrf})
    assert rows_of(station.place)[lot[0] - 1].said == "" and drawn(station) == lot
