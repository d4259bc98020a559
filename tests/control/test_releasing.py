"""Releases by themselves, bytes that may go, two banks side by side, alarms, wall screens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.control.beside import beside
from fedpatchcore.control.gates import TOGETHER, GateSettings, gates, passed
from fedpatchcore.control.removing import remove
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.tables import Alarm, Alias, BankVersion, Release, Screen
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.people import DAY
from tests.support.control import (
    add_run,
    browser,
    csrf_of,
    logged_in,
    program,
    result,
    run_events,
    small_bank,
)

ANNA = Actor("anna", "10.0.0.1")


def made(room: Room, name: str, auroc: float | None, at: float, bank: MemoryBank) -> None:
    add_run(room, name, run_events(auroc=auroc, at=at), bank=bank)
    room.mirror.look()


def in_production(room: Room) -> int | None:
    with room.database.read() as session:
        found = session.get(Alias, ("plate", "production"))
    return found.version_id if found else None


def test_a_bank_is_released_by_itself_where_every_gate_is_passed(room: Room) -> None:
    made(room, "one", 0.90, 0, small_bank(1))
    room.registry.automatic(ANNA, "plate", True)
    made(room, "two", 0.95, 1000, small_bank(2))
    assert in_production(room) is None  # nothing to be held against: a person's word
    room.registry.release(ANNA, 1, "plate", "")
    made(room, "three", 0.80, 2000, small_bank(3))
    assert in_production(room) == 1  # worse: it waits
    made(room, "four", None, 3000, small_bank(4))
    assert in_production(room) == 1  # nothing decided: it waits
    made(room, "five", 0.96, 4000, small_bank(5))
    assert in_production(room) == 5
    with room.database.read() as session:
        last = session.scalars(select(Release).order_by(Release.id.desc()).limit(1)).one()
    assert last.who == "control room" and last.note.startswith("by itself: all 6 gates")
    room.registry.automatic(ANNA, "plate", False)
    made(room, "six", 0.97, 5000, small_bank(6))
    assert in_production(room) == 5
    with pytest.raises(ControlError, match="no bank of 'ring'"):
        room.registry.automatic(ANNA, "ring", True)
    room.trail.verify()


def test_planted_defects_are_a_gate_where_runs_tell_them() -> None:
    before, after = result("north", 0.9, planted=[9, 10]), result("north", 0.9, planted=[8, 10])
    told = {one.what: one for one in gates("plate", [before], [after], GateSettings())}
    assert told["planted defects found"].passed is False
    assert told["planted defects found"].worse == pytest.approx(0.1)
    assert "planted defects found" not in {
        one.what for one in gates("plate", [result("n", 1.0)], [result("n", 1.0)], GateSettings())
    }


def totals(auroc: float, found: int = 9) -> dict:
    """The row of a run that tells no site's figures."""
    return result("mean", auroc, kind="mean", found=[found, 10])


@pytest.mark.parametrize("before", [[totals(0.9)], [totals(0.9), result("north", 0.9)]])
def test_totals_can_fail_and_never_pass(before: list[dict]) -> None:
    """Of all sites together: one may have lost what the others gained."""
    limits = GateSettings()
    for after, verdicts in (
        (totals(0.95), [None, None, None]),
        (totals(0.88), [False, None, None]),
        (totals(0.90, found=8), [None, False, None]),
    ):
        told = gates("plate", before, [after], limits)
        one = [gate for gate in told if gate.site == TOGETHER]
        assert [gate.passed for gate in one] == verdicts and not passed(told)
        assert {gate.passed for gate in told if gate.site == "north"} <= {None}


def test_totals_are_no_gates_where_both_runs_tell_their_sites() -> None:
    rows = [result("north", 0.9), totals(0.9)]
    told = gates("plate", rows, rows, GateSettings())
    assert {gate.site for gate in told} == {"north"} and passed(told)


def test_a_bank_of_totals_waits_for_a_person(room: Room) -> None:
    for at, auroc in enumerate((0.9, 0.95)):
        told = run_events(auroc=None, at=1000 * at)
        told[-1]["rows"] = [totals(auroc)]
        add_run(room, f"run-{at}", told, bank=small_bank(at + 1))
        room.mirror.look()
        room.registry.automatic(ANNA, "plate", True)
        if not at:
            room.registry.release(ANNA, 1, "plate", "the first")
    assert in_production(room) == 1
    with pytest.raises(ControlError, match="tells no site's figures, and those of all sites"):
        room.registry.release(ANNA, 2, "plate", "")
    text = logged_in(room).get("/banks/2").text
    assert TOGETHER in text and "0.95" in text and "not known" in text
    room.registry.release(ANNA, 2, "plate", "all together better, sites asked", anyway=True)
    assert in_production(room) == 2


def test_bytes_go_that_no_audit_needs_and_no_others(room: Room) -> None:
    for at in range(4):
        made(room, f"r{at}", 0.9, 1000.0 * at, small_bank(at))
    room.registry.release(ANNA, 1, "plate", "")
    with room.database.read() as session:
        digests = dict(session.execute(select(BankVersion.id, BankVersion.digest)).all())
    room.words.take(ANNA, "north", "plate", digests[2])
    for number, why in ((1, "was in production"), (2, "north judged by it"), (4, "waits for a")):
        with pytest.raises(ControlError, match=why):
            remove(room.registry, ANNA, number, "old")
    with pytest.raises(ControlError, match="say why"):
        remove(room.registry, ANNA, 3, "")
    assert room.registry.file(digests[3]).is_file()
    remove(room.registry, ANNA, 3, "old")
    assert not room.registry.file(digests[3]).exists()
    with pytest.raises(ControlError, match="removed by anna already"):
        remove(room.registry, ANNA, 3, "old")
    with pytest.raises(ControlError, match="bytes of bank 3 were removed"):
        room.registry.release(ANNA, 3, "plate", "")
    page = logged_in(room).get("/banks/3").text
    assert "Removed by anna" in page and digests[3] in page  # its record stays
    room.mirror._stamps.clear()
    room.mirror.look()  # the run folder still has it: it does not come back
    assert not room.registry.file(digests[3]).exists()


def test_bytes_that_two_versions_share_stay_for_the_other(room: Room) -> None:
    for at in range(2):
        made(room, f"r{at}", 0.9, 1000.0 * at, small_bank(1))
    made(room, "newest", 0.9, 5000, small_bank(2))
    remove(room.registry, ANNA, 1, "twice")
    with room.database.read() as session:
        digest = session.get(BankVersion, 2).digest
    assert room.registry.file(digest).is_file()
    remove(room.registry, ANNA, 2, "as well")
    assert not room.registry.file(digest).exists()


def test_two_banks_are_told_apart_by_rows_and_sites(room: Room) -> None:
    first = small_bank(1)
    rows = first.sections["plate"].features
    fresh = np.concatenate([rows[:6], small_bank(2).sections["plate"].features[:3]])
    origin = np.array([0] * 6 + [1] * 3, np.int32)
    part = Section(fresh, origin, 0.5, 0.5, {"north": 4, "south": 4})
    second = MemoryBank(first.fingerprint, {"plate": part}, first.sites, 1)
    made(room, "one", 0.9, 0, first)
    made(room, "two", 0.95, 1000, second)
    with room.database.read() as session:
        versions = [session.get(BankVersion, number) for number in (1, 2)]
    told = beside(room.registry, *versions)
    (plate,) = told.changes
    assert (plate.rows, plate.stayed, told.why) == ((8, 9), 6, "")
    assert plate.by_site == [("north", 8, 6, 0, 2), ("south", 0, 3, 3, 0)]
    assert {one.site for one in plate.figures} == {"north", "south"}
    room.registry.file(versions[0].digest).unlink()
    told = beside(room.registry, *versions)
    assert told.changes[0].stayed is None and told.why
    assert "Rows were not looked at" in logged_in(room).get("/banks/1/beside/2").text


def test_an_alarm_is_a_sites_own_counted_and_seen_to(room: Room) -> None:
    add_run(room, "one")
    room.mirror.look()
    north = program(room, "site", "north")
    told = {"kind": "drift", "words": "scores\nrise", "product": "plate"}
    assert north.post("/api/alarms", data=told).json() == {"id": 1}
    assert north.post("/api/alarms", data=told | {"words": "more"}).json() == {"id": 1}
    refused = north.post("/api/alarms", data=told | {"site": "south"})
    assert (refused.status_code, refused.json()["error"]) == (
        403,
        "this key speaks for north alone",
    )
    assert program(room, "operator").post("/api/alarms", data=told).status_code == 403
    for wrong in ({"kind": ""}, {"words": ""}, {"kind": "x" * 41}, {"product": "a\x1bb"}):
        assert north.post("/api/alarms", data=told | wrong).status_code == 400
    operator = logged_in(room, "olga", "operator")
    assert "north, plate: drift: more (2 times)" in operator.get("/overview").text
    csrf = {"csrf": csrf_of(operator)}
    assert operator.post("/alarms/1/seen", data=csrf).status_code == 303
    assert "drift" not in operator.get("/overview").text
    assert operator.post("/alarms/1/seen", data=csrf).status_code == 400
    assert operator.post("/alarms/99999999999999999999/seen", data=csrf).status_code == 404
    with room.database.read() as session:
        assert session.get(Alarm, 1).seen_by == "olga"


def test_a_wall_screens_link_opens_one_browser_within_a_day(room: Room) -> None:
    secret = room.screens.make(ANNA, "hall", 30)
    screen = browser(room)
    assert "hall" in screen.get(f"/wall/{secret}").text
    assert screen.post(f"/wall/{secret}").status_code == 303
    assert screen.get("/").headers["location"] == "/wall"
    assert browser(room).post(f"/wall/{secret}").status_code == 400
    late = room.screens.make(ANNA, "late", 30)
    with room.database.write() as session:
        session.execute(
            update(Screen).where(Screen.name == "late").values(made_at=Screen.made_at - DAY - 1)
        )
    assert browser(room).post(f"/wall/{late}").status_code == 400
    unopened = room.screens.make(ANNA, "x", 30)
    assert browser(room, cookie=f"fedpatchcore-screen={unopened}").get("/wall").status_code == 303
    room.screens.end(ANNA, 1)
    assert screen.get("/wall").headers["location"].startswith("/login")
    for days in (0, 367):
        with pytest.raises(ControlError, match="1 to 366 days"):
            room.screens.make(ANNA, "x", days)


def test_a_persons_log_in_counts_before_the_screens(room: Room) -> None:
    secret = room.screens.make(CONSOLE, "hall", 9)
    anna = logged_in(room)
    anna.post(f"/wall/{secret}")
    assert anna.get("/people").status_code == 200
    anna.post("/logout", data={"csrf": csrf_of(anna)})
    assert anna.get("/people").status_code == 403 and anna.get("/wall").status_code == 200


def test_products_are_a_sites_own(room: Room, tmp_path: Path) -> None:
    made(room, "one", 0.9, 0, small_bank(1, ("plate", "ring")))
    for product in ("plate", "ring"):
        room.registry.release(ANNA, 1, product, "")
    assert [p["product"] for p in program(room, "site", "north").get("/api/products").json()] == [
        "plate"
    ]
    assert len(program(room, "viewer").get("/api/products").json()) == 2
