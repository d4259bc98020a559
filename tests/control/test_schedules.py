"""Schedules start what is due, skip it with a reason, and are there after a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from fedpatchcore.control import schedules
from fedpatchcore.control.room import Room
from fedpatchcore.control.schedules import LATE, next_time
from fedpatchcore.control.tables import Run, Schedule, Site
from fedpatchcore.errors import ConfigError, ControlError, RunError
from fedpatchcore.web.audit import Actor
from tests.support.control import (
    Flower,
    add_run,
    append,
    csrf_of,
    logged_in,
    open_room,
    program,
    run_events,
)

OLGA = Actor("olga")
MINUTE = 60_000


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    at = [moment("2026-03-01T12:00")]
    monkeypatch.setattr(schedules, "now", lambda: at[0])
    return at


def row(room: Room, number: int = 1) -> Schedule:
    with room.database.read() as session:
        return session.get(Schedule, number)


def test_times_are_crontabs_in_utc_and_the_next_is_after_now() -> None:
    at = moment("2026-03-01T12:00")
    assert next_time("0 2 * * *", at) == moment("2026-03-02T02:00")
    assert next_time("0 12 * * *", at) == moment("2026-03-02T12:00")
    assert next_time("*/5 * * * *", at) == moment("2026-03-01T12:05")
    assert next_time("0 2 * * mon", at) == moment("2026-03-02T02:00")
    for wrong in ("", "nightly", "0 99 * * *", "0 2 * *", "0 2 * * * *", "0 0 31 2 *", "\x00" * 9):
        with pytest.raises(ConfigError, match="is no time|never comes"):
            next_time(wrong, at)


def test_what_is_due_is_started_once_and_as_a_person_would(
    room: Room, clock: list[int], flower: Flower
) -> None:
    room.schedules.add(OLGA, "nightly", {"num-rounds": 3}, "0 2 * * *", 0)
    assert room.schedules.look() == 0 and flower.taken == []
    clock[0] = moment("2026-03-02T02:00")
    assert room.schedules.look() == 1 == len(flower.taken)
    assert flower.taken[0]["num-rounds"] == 3
    assert flower.taken[0]["run-name"] == "nightly-20260302-020000"
    with room.database.read() as session:
        assert session.scalars(select(Run.origin)).all() == ["schedule nightly"]
    assert room.schedules.look() == 0
    assert row(room).last == "started nightly-20260302-020000"
    assert row(room).next_at == moment("2026-03-03T02:00")
    what = [json.loads(one)["what"] for one in room.trail.lines()]
    assert what == ["schedule.made", "run.started", "schedule.started"]


def test_it_survives_a_restart_and_what_was_missed_for_long_is_told(
    room: Room, clock: list[int], tmp_path: Path
) -> None:
    room.schedules.add(OLGA, "nightly", {}, "0 2 * * *", 0)
    again = open_room(tmp_path, found := Flower())
    clock[0] = moment("2026-03-02T02:10")  # the control room was away for ten minutes
    assert again.schedules.look() == 1 and len(found.taken) == 1
    clock[0] = moment("2026-03-03T02:00") + LATE + MINUTE
    assert again.schedules.look() == 0
    assert row(again).last == "the control room was away at 2026-03-03 02:00"
    assert row(again).next_at == moment("2026-03-04T02:00")
    again.close()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda room, flower: add_run(room, "going", run_events(over=False)), "run going is in"),
        (lambda room, flower: setattr(flower, "connected", 1), "1 sites are online, the run takes"),
        (lambda room, flower: setattr(flower, "wrong", RunError("no SuperLink")), "no SuperLink"),
    ],
)
def test_when_something_is_not_right_it_is_skipped_with_the_reason(
    room: Room, clock: list[int], flower: Flower, spoil, why: str
) -> None:
    room.schedules.add(OLGA, "nightly", {}, "0 2 * * *", 0)
    spoil(room, flower)
    room.mirror.look()
    clock[0] = moment("2026-03-02T02:00")
    assert room.schedules.look() == 0 and flower.taken == []
    assert why in row(room).last and row(room).next_at == moment("2026-03-03T02:00")
    assert json.loads(list(room.trail.lines())[-1])["what"] == "schedule.skipped"
    told = logged_in(room, "vera", "viewer").get("/overview").text
    assert "schedule nightly was skipped" in told and why in told


def test_new_images_start_it_and_are_counted_from_there(
    room: Room, clock: list[int], flower: Flower
) -> None:
    add_run(room, "one")
    room.mirror.look()
    room.schedules.add(OLGA, "enough", {}, "", 50)
    north = program(room, "site", "north")
    assert room.schedules.look() == 0
    assert north.post("/api/images", data={"images": "60"}).json() == {"images": 60}
    assert room.schedules.look() == 0  # 20 more than the 40 of the roll call
    north.post("/api/images", data={"images": "95"})
    assert room.schedules.look() == 1 and len(flower.taken) == 1
    assert room.schedules.look() == 0  # nothing new since
    with room.database.read() as session:
        assert session.get(Site, "north").images == 95


def test_with_a_time_and_images_both_must_be_there(
    room: Room, clock: list[int], flower: Flower
) -> None:
    add_run(room, "one")
    room.mirror.look()
    room.schedules.add(OLGA, "nightly", {}, "0 2 * * *", 50)
    program(room, "site", "north").post("/api/images", data={"images": "900"})
    assert room.schedules.look() == 0  # not yet two o'clock
    clock[0] = moment("2026-03-02T02:00")
    assert room.schedules.look() == 1
    with room.database.write() as session:
        session.execute(update(Run).values(state="finished"))
    clock[0] = moment("2026-03-03T02:00")
    assert room.schedules.look() == 0
    assert row(room).last == "0 new images since its last run, it takes 50"


def test_a_reason_that_stays_is_told_once(room: Room, clock: list[int]) -> None:
    folder = add_run(room, "going", run_events(over=False))
    room.mirror.look()
    room.schedules.add(OLGA, "enough", {}, "", 10)
    program(room, "site", "north").post("/api/images", data={"images": "900"})
    for _ in range(3):
        room.schedules.look()
    told = [json.loads(one)["what"] for one in room.trail.lines()]
    assert told.count("schedule.skipped") == 1
    append(folder, run_events()[5:])
    room.mirror.look()
    assert room.schedules.look() == 1


@pytest.mark.parametrize(
    "told",
    [
        {"name": "", "cron": "0 2 * * *"},
        {"name": ".x", "cron": "0 2 * * *"},
        {"name": "a/b", "cron": "0 2 * * *"},
        {"name": "x"},
        {"name": "x", "cron": "soon"},
        {"name": "x", "images": "-1"},
        {"name": "x", "images": "many"},
        {"name": "x", "images": "9" * 15},
        {"name": "x", "cron": "0 2 * * *", "preset": "none"},
        {"name": "x", "cron": "0 2 * * *", "like": "99"},
    ],
)
def test_a_form_that_makes_none_says_so_in_a_line(room: Room, told: dict[str, str]) -> None:
    operator = logged_in(room, "olga", "operator")
    answer = operator.post("/schedules", data=told | {"csrf": csrf_of(operator)})
    assert 400 <= answer.status_code < 500 and 'role="alert">' in answer.text
    by_key = program(room, "operator").post("/schedules", data=told)
    assert 400 <= by_key.status_code < 500 and "\n" not in by_key.json()["error"]
    with room.database.read() as session:
        assert session.scalars(select(Schedule)).all() == []


def test_one_name_at_a_time_and_an_end(room: Room, clock: list[int], flower: Flower) -> None:
    number = room.schedules.add(OLGA, "n", {}, "0 2 * * *", 0)
    with pytest.raises(ControlError, match="end it first"):
        room.schedules.add(OLGA, "n", {}, "0 3 * * *", 0)
    with pytest.raises(ConfigError):
        room.schedules.add(OLGA, "m", {"num-rounds": 0}, "0 3 * * *", 0)
    room.schedules.end(OLGA, number)
    clock[0] = moment("2026-03-02T02:00")
    assert room.schedules.look() == 0 and flower.taken == []
    with pytest.raises(ControlError, match="there is no schedule"):
        room.schedules.end(OLGA, number)
