"""One node takes no other's name, and has one voice, over rounds and over resume."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES

KEYS = {11 + at: (name.encode(), name) for at, name in enumerate(NAMES)}
ROBUST = {"robustness_enabled": True, "tolerated_sites": 1, "min_sites": 3}


def told_by(grid: FakeGrid, keys: dict[int, tuple[bytes, str | None]]) -> None:
    """As Flower's grid tells the nodes that are online."""
    grid.get_nodes = lambda: [
        SimpleNamespace(node_id=node, public_key=key, name=name)
        for node, (key, name) in keys.items()
        if node in grid.online
    ]


@pytest.mark.parametrize("robust", [True, False])
def test_a_node_pushes_nobody_out_by_taking_its_name(run, robust: bool) -> None:
    """At the first roll call already, when nobody is known."""

    def before(grid: FakeGrid) -> None:
        grid.nodes[14] = dict(grid.nodes[12])
        grid.online.add(14)
        told_by(grid, KEYS | {14: (b"thief", None)})

    _, metrics, grid = run(before=before, num_rounds=2, **(ROBUST if robust else {}))
    for record in metrics["rounds"]:
        assert set(record["train"]) == set(NAMES)
        why = record["rejected"]["south (node 14)"]
        assert "the name 'south' is another key's" in why or "another node is site 'south'" in why
    assert (14, "train") not in grid.sent


def test_a_registered_key_has_one_voice(run) -> None:
    def before(grid: FakeGrid) -> None:
        grid.nodes[14] = {**grid.nodes[12], "site": "fourth"}
        grid.online.add(14)
        told_by(grid, KEYS | {14: (b"other", "east")})

    folder, metrics, _ = run(before=before, **ROBUST)
    why = metrics["rounds"][0]["rejected"]["fourth (node 14)"]
    assert "registered as 'east' and it calls itself 'fourth'" in why
    assert "fourth" not in MemoryBank.load(folder / "bank.safetensors").sites


def test_a_second_node_of_a_site_that_is_here_is_refused_alone(run) -> None:
    """Without keys too: the one that was there first in an earlier round stays."""

    def before(grid: FakeGrid) -> None:
        def ids() -> list[int]:
            if grid.sent.count((11, "evaluate")):
                grid.nodes[14] = dict(grid.nodes[12])
                grid.online.add(14)
            return sorted(grid.online)

        grid.get_node_ids = ids

    _, metrics, _ = run(before=before, num_rounds=2)
    second = metrics["rounds"][1]
    assert set(second["train"]) == set(NAMES)
    assert "another node is site 'south'" in second["rejected"]["south (node 14)"]


def test_a_key_keeps_its_name_under_another_node_number(run) -> None:
    """The SuperLink's database is new: numbers change, keys do not."""

    def before(grid: FakeGrid) -> None:
        def ids() -> list[int]:
            if grid.sent.count((11, "evaluate")) and 12 in grid.online:
                grid.nodes[14] = grid.nodes.pop(12)
                grid.online = {11, 13, 14}
            return sorted(grid.online)

        grid.get_node_ids = ids
        told_by(grid, KEYS | {14: KEYS[12]})

    _, metrics, _ = run(before=before, num_rounds=2, **ROBUST)
    assert set(metrics["rounds"][1]["train"]) == set(NAMES)
    assert metrics["rounds"][1]["rejected"] == {}


def test_who_comes_late_finds_its_name_free_of_whoever_took_it(run) -> None:
    """What the other had sent under it is not the site's, and leaves the bank."""

    def before(grid: FakeGrid) -> None:
        grid.nodes[14] = {**grid.nodes[13], "site": "south"}

        def ids() -> list[int]:
            late = grid.sent.count((11, "evaluate"))
            grid.online = {11, 12, 13, 14} if late else {11, 13, 14}
            return sorted(grid.online)

        grid.get_node_ids = ids
        told_by(grid, KEYS | {14: (b"thief", None)})

    folder, metrics, _ = run(before=before, num_rounds=2, **ROBUST)
    first, second = metrics["rounds"]
    assert {s["section"] for s in first["train"]["south"]["sections"]} == {"plate", "ring"}
    assert {s["section"] for s in second["train"]["south"]["sections"]} == {"plate"}
    assert "the name 'south' is another key's" in second["rejected"]["south (node 14)"]
    bank = MemoryBank.load(folder / "bank.safetensors")
    at = bank.sites.index("south")
    assert at in bank.sections["plate"].origin and at not in bank.sections["ring"].origin


def test_over_resume_a_name_stays_its_keys(run) -> None:
    folder, _, _ = run(before=lambda grid: told_by(grid, KEYS), **ROBUST)
    history = json.loads((folder / "rounds" / "0001" / "history.json").read_text())
    assert '"name": "south"' in json.dumps(history)

    def before(grid: FakeGrid) -> None:  # the rightful one is away, another came
        grid.nodes[14] = grid.nodes.pop(12)
        grid.online = {11, 13, 14}
        told_by(grid, KEYS | {14: (b"thief", None)})

    _, metrics, _ = run(before=before, num_rounds=2, resume=str(folder), **ROBUST)
    why = metrics["rounds"][1]["rejected"]["south (node 14)"]
    assert "the name 'south' is another key's" in why
    assert "south" not in metrics["rounds"][1]["train"]
