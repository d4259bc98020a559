"""Runs without rounds through both apps: arrivals in any order, sites that fail, a run resumed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("one_thread")
FLOW = {"method": "generator", "optimiser": "fedbuff", "buffer": 2, "num_rounds": 3}


def test_a_run_ends_after_so_many_models_and_all_judge(run) -> None:
    folder, metrics, _ = run(**FLOW)
    rounds = metrics["rounds"]
    assert [one["round"] for one in rounds] == [1, 2, 3]
    assert set(rounds[-1]["evaluate"]) == {"north", "south", "west"}
    for one in rounds:
        assert len(one["sections"]["plate"]["arrivals"]) == 2
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events].count("trained") == 6
    assert (folder / "report.html").is_file()
