"""A site's SuperNode or ClientApp dies, hangs, raises, answers late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.conftest import CONFIG, EXTRACT, TRAIN, lost, reached, rows
from tests.support.field import Field, until

pytestmark = pytest.mark.timeout(1800)


def test_killed_before_extraction_never_restarted(field: Field, undisturbed, row) -> None:
    """SuperNode killed before its train message, never restarted."""
    field.start_server()
    field.register()
    field.start_sites()
    run = field.submit("run", {**CONFIG, "rejoin-seconds": 5.0})
    field.until_event("run", "round")
    field.kill("south")
    assert field.wait(run) == "finished:completed"
    assert "offline" in lost(field, "run")["south"]
    assert field.bank("run") == undisturbed(sites=("north", "west"))
    seconds = field.events("run", "finished")[0]["seconds"]
    row(f"LOST south: its SuperNode is offline; bank of the other two, {seconds:.0f} s of run")


def test_killed_during_extraction_and_restarted(
    field: Field, inject: Callable, undisturbed, row
) -> None:
    """SuperNode killed during extraction, restarted."""
    field.start_server()
    field.register()
    slow = inject("south", where=EXTRACT, do="hang", after=2, times=1, seconds=20)
    field.start_sites("north", "west")
    field.keep_site("south", **slow)
    run = field.submit("run", CONFIG)
    until(reached(slow).exists, 300, "extraction was not reached")
    field.kill_supernode("south")
    assert field.wait(run) == "finished:completed"
    assert [e["event"] for e in field.events("run") if e.get("site") == "south"][:4] == [
        "site",
        "gone",
        "back",
        "trained",
    ]
    trained = next(e for e in field.events("run", "trained") if e["site"] == "south")
    assert (trained["extracted"], trained["cached"]) == (
        12,
        0,
    )  # its worker went on meanwhile, and did nothing twice
    assert "asked for before" in field.log("south")
    assert field.bank("run") == undisturbed()
    assert "still counts the former process as online" in field.log("south")
    row("asked again when back; its worker had gone on, and answers at once; bank as undisturbed")


def test_killed_after_extraction_and_restarted(field: Field, undisturbed, row) -> None:
    """SuperNode killed after its coreset was sent, restarted."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    field.keep_site("south")
    run = field.submit("run", CONFIG)
    field.until_event("run", "trained", site="south")
    field.kill_supernode("south")
    assert field.wait(run) == "finished:completed"
    assert field.bank("run") == undisturbed()
    sites = {e["site"] for e in field.events("run", "evaluated")}
    assert sites == {"north", "south", "west"}
    row("evaluated when back; bank as undisturbed")


def test_clientapp_raises(field: Field, inject: Callable, undisturbed, row, tmp_path: Path) -> None:
    """ClientApp raises."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    field.start_site("south", **inject("south", where=TRAIN, do="raise"))
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    (rejected,) = field.events("run", "rejected")
    assert rejected["site"] == "south"
    assert "injected: the camera driver gave up" in rejected["reason"]
    others = undisturbed(sites=("north", "west"))
    assert rows(field.bank("run"), tmp_path) == rows(others, tmp_path)
    row(f"REJECTED south: {rejected['reason'][:90]}; bank of the other two")


@pytest.mark.parametrize("times", [1, 9])
def test_clientapp_process_dies(
    times: int, field: Field, inject: Callable, undisturbed, row, tmp_path: Path
) -> None:
    """ClientApp process dies (as when killed for memory), once and every time."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    field.start_site("south", **inject("south", where=TRAIN, do="die", times=times))
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    if times == 1:
        assert not lost(field, "run")
        assert field.bank("run") == undisturbed()
        row("once: asked again, bank as undisturbed")
    else:
        assert "ClientApp process died" in lost(field, "run")["south"]
        others = undisturbed(sites=("north", "west"))
        assert rows(field.bank("run"), tmp_path) == rows(others, tmp_path)
        row(f"always: asked twice again, then LOST south: {lost(field, 'run')['south'][:70]}")


def test_straggler_beyond_the_round_timeout(
    field: Field, inject: Callable, undisturbed, row
) -> None:
    """ClientApp hangs beyond round-timeout, answers late, is there again in the next round."""
    field.start_server()
    field.register()
    slow = inject("south", where=TRAIN, do="hang", seconds=60)
    field.start_sites("north", "west")
    field.start_site("south", **slow)
    run = field.submit("run", {**CONFIG, "num-rounds": 2, "round-timeout": 45.0})
    assert field.wait(run) == "finished:completed"
    first = next(e for e in field.events("run", "lost") if e["site"] == "south")
    assert first["reason"].startswith("no reply within round-timeout")
    trained = [(e["round"], e["site"]) for e in field.events("run", "trained")]
    assert (1, "south") not in trained
    assert (2, "south") in trained
    assert trained.count((2, "south")) == 1  # the late reply to round 1 was not taken for it
    row("LOST south in round 1: no reply within round-timeout; takes part in round 2")


def test_a_slow_site_that_is_not_waited_for(
    field: Field, inject: Callable, undisturbed, row, tmp_path: Path
) -> None:
    """ClientApp hangs while the round closes without it, and answers after it."""
    field.start_server()
    field.register()
    slow = inject("south", where=TRAIN, do="hang", seconds=45, times=1)
    field.start_sites("north", "west")
    field.start_site("south", **slow)
    run = field.submit("run", {**CONFIG, "round-closes-at": 0.6, "round-timeout": 300.0})
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    (closed,) = field.events("run", "closed")
    assert (closed["round"], closed["late"], closed["of"]) == (1, ["south"], 3)
    merged = field.events("run", "merged")
    assert [one["round"] for one in merged] == [1, 2]
    late = [e for e in field.events("run", "trained") if e.get("late_from")]
    assert [(one["site"], one["round"], one["late_from"]) for one in late] == [("south", 2, 1)]
    judged = [(e["round"], e["site"]) for e in field.events("run", "evaluated")]
    assert {(2, "north"), (2, "south"), (2, "west")} <= set(judged)
    assert rows(field.bank("run"), tmp_path) == rows(undisturbed(), tmp_path)
    row("a bank of the other two first; then its answer makes the bank of an undisturbed run")


def test_a_site_outside_its_hours(field: Field, row) -> None:
    """A site's worker says that this is no time to ask."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    today = datetime.now(UTC).weekday()
    other = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(today + 3) % 7]
    field.start_site("south", words={"weekdays": other, "time-zone": "UTC"})
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    (told,) = field.events("run", "later")
    assert told["site"] == "south"
    assert told["reason"].startswith("not now: ")
    assert told["reason"].endswith(f"is not among {other}")
    assert not field.events("run", "rejected") and not lost(field, "run")
    row(f"south: {told['reason']}; bank of the other two")
