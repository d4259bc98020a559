"""Sites that are chosen or passed over, and sites that do not take part now, through both apps."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import QuorumError
from fedpatchcore.runs.watch import RunView
from fedpatchcore.site import eligible
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.slowgrid import count, held_back

TWO = {"selection": "adaptive", "sites_per_round": 2}
ROBUST = {"robustness_enabled": True, "tolerated_sites": 1, "min_sites": 3}


def followed(folder: Path) -> RunView:
    view = RunView()
    for line in (folder / "events.jsonl").read_text().splitlines():
        view.take(json.loads(line))
    return view


def turns(metrics: dict) -> list[set[str]]:
    return [set(record["train"]) for record in metrics["rounds"]]


def test_two_of_three_train_and_nobodys_rows_are_lost(run, tmp_path: Path) -> None:
    folder, metrics, _grid = run(num_rounds=3, keep_absent_sites=False, **TWO)
    assert [len(one) for one in turns(metrics)] == [2, 2, 2]
    assert set().union(*turns(metrics)) == set(NAMES)
    assert all(record["absent"] == [] for record in metrics["rounds"])
    assert all(set(record["evaluate"]) == set(NAMES) for record in metrics["rounds"])
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.sites == tuple(NAMES)
    for name in NAMES:
        told = [r["selection"]["why"].get(name) for r in metrics["rounds"]]
        assert any(told)
    first = metrics["rounds"][0]
    (left,) = first["selection"]["passed_over"]
    shares = [one["uncovered"] for one in first["evaluate"][left]["products"].values()]
    assert all(0 <= share <= 1 for share in shares if share is not None)
    assert any(share is not None for share in shares)
    assert {followed(folder).sites[name].state for name in NAMES} == {"done"}
    assert "chosen by selection = adaptive, 2 a round" in (folder / "report.html").read_text()


def test_a_resumed_run_chooses_as_if_it_had_not_stopped(run, tmp_path: Path) -> None:
    told = {"selection": "random", "sites_per_round": 2, "seed": 5}
    whole, metrics, _ = run(num_rounds=4, **told)
    expected = turns(metrics)
    bank = (whole / "bank.safetensors").read_bytes()
    whole.rename(tmp_path / "whole")
    folder, _, _ = run(num_rounds=2, **told)
    _, metrics, _ = run(num_rounds=4, resume=str(folder), **told)
    assert turns(metrics) == expected
    assert (folder / "bank.safetensors").read_bytes() == bank


def test_a_bank_may_go_to_the_chosen_alone_and_at_last_to_all(run) -> None:
    _, metrics, grid = run(num_rounds=2, judged_by="chosen", **TWO)
    one, two = metrics["rounds"]
    assert set(one["evaluate"]) == set(one["selection"]["chosen"])
    assert set(two["evaluate"]) == set(NAMES)
    assert count(grid, "evaluate") == 5


class At(eligible.Machine):
    """This machine, at a time that the test says."""

    hour = 12

    def now(self, zone):
        return datetime(2026, 11, 30, At.hour, 0, tzinfo=zone)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[At]:
    monkeypatch.setattr(eligible, "Machine", At)
    monkeypatch.setattr(At, "hour", 12)
    return At


def by_night(grid: FakeGrid, *nodes: int) -> None:
    for node in nodes:
        grid.nodes[node] = {**grid.nodes[node], "hours": "22:00-06:00"}


def test_not_now_is_an_answer_and_the_site_joins_the_round_of_its_hour(run, clock) -> None:
    def before(grid: FakeGrid) -> None:
        by_night(grid, 12)
        ids = grid.get_node_ids

        def online() -> list[int]:
            clock.hour = 23 if count(grid, "evaluate") >= 2 else 12
            return ids()

        grid.get_node_ids = online

    folder, metrics, _grid = run(before=before, num_rounds=2)
    one, two = metrics["rounds"]
    assert one["not_now"] == {"south": "not now: outside 22:00 to 06:00"}
    assert one["rejected"] == one["lost"] == {}
    assert turns(metrics) == [{"north", "west"}, set(NAMES)]
    assert "not_now" not in two
    view = RunView()
    states = []
    for line in (folder / "events.jsonl").read_text().splitlines():
        view.take(json.loads(line))
        states.append(view.sites["south"].state if "south" in view.sites else "")
    assert "not now: outside 22:00 to 06:00" in states
    assert states[-1] == "done"
    assert not view.sites["south"].wrong
    assert "not now: outside 22:00 to 06:00" in (folder / "report.html").read_text()


def test_an_hour_that_ends_in_mid_round_ends_with_what_there_is(run, clock) -> None:
    def before(grid: FakeGrid) -> None:
        clock.hour = 23
        by_night(grid, 12)

    def alter(node, kind, reply):
        clock.hour = 7 if kind == "train" and node == 13 else clock.hour
        return reply

    folder, metrics, _grid = run(alter, before=before, num_rounds=2)
    one, two = metrics["rounds"]
    assert set(one["train"]) == set(NAMES)
    assert set(one["evaluate"]) == {"north", "west"}
    assert one["not_now"] == two["not_now"] == {"south": "not now: outside 22:00 to 06:00"}
    assert two["absent"] == []
    assert MemoryBank.load(folder / "bank.safetensors").sites == tuple(NAMES)


def test_too_few_are_waited_for_and_then_told_why(run, clock, monkeypatch) -> None:
    monkeypatch.setattr("server_app.attendance.AGAIN_SECONDS", 0.1)
    asked: list[int] = []

    def alter(node, kind, reply):
        asked.append(node) if kind == "query" else None
        clock.hour = 23 if asked.count(12) >= 3 else 12
        return reply

    _, metrics, _ = run(alter, before=lambda grid: by_night(grid, 11, 12, 13))
    assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    clock.hour = 12
    with pytest.raises(QuorumError, match="0 usable site"):
        run(before=lambda grid: by_night(grid, 11, 12, 13))


def test_where_sites_vote_a_late_one_is_judged_with_the_next_version(run) -> None:
    names = {14: {"site": "zeta"}}

    def before(grid: FakeGrid) -> None:
        grid.nodes[14] = {**grid.nodes[12], **names[14]}
        grid.online.add(14)
        held_back(12, lambda grid: count(grid, "evaluate") >= 3)(grid)

    folder, metrics, _ = run(
        before=before,
        round_closes_at=0.75,
        round_timeout=30.0,
        on_outlier="warn",
        compare_local=False,
        calibration="holdout",
        holdout=0.3,
        **ROBUST,
    )
    one, two = metrics["rounds"]
    assert one["late"] == ["south"]
    assert "south" not in one["site_scores"]["plate"]
    assert "south" in two["site_scores"]["plate"]
    assert "south" in MemoryBank.load(folder / "bank.safetensors").sites


def test_a_late_answer_that_does_not_fit_is_refused_by_name(run) -> None:
    def alter(node, kind, reply):
        if (node, kind) == (12, "train"):
            reply.content["texts"]["site"] = "west"
        return reply

    late = held_back(12, lambda grid: count(grid, "evaluate") >= 2)
    folder, metrics, _ = run(alter, before=late, round_closes_at=0.6, round_timeout=30.0)
    assert len(metrics["rounds"]) == 1  # no version was made of it
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")
    lines = (folder / "events.jsonl").read_text().splitlines()
    (refused,) = [one for one in map(json.loads, lines) if one["event"] == "rejected"]
    assert "now calls itself 'west'" in refused["reason"]


def test_a_late_answer_that_never_comes_ends_with_its_time(run) -> None:
    late = held_back(12, lambda grid: False)
    folder, metrics, _grid = run(before=late, round_closes_at=0.6, round_timeout=3.0)
    assert len(metrics["rounds"]) == 1
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")


def test_a_resumed_run_asks_a_late_site_again(run) -> None:
    told = {"round_closes_at": 0.6, "round_timeout": 2.0}
    folder, metrics, _ = run(before=held_back(12, lambda grid: False), **told)
    assert metrics["rounds"][-1]["late"] == ["south"]
    _, metrics, _ = run(num_rounds=2, resume=str(folder), **told)
    assert metrics["rounds"][1]["train"]["south"]["kind"] == "delta"
    assert MemoryBank.load(folder / "bank.safetensors").sites == tuple(NAMES)
