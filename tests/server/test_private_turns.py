"""Private sites that are late, not chosen, or do not take part now: charged once, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.names import NAMES
from tests.support.private import LOUD, charges, privacy
from tests.support.slowgrid import count, held_back

EARLY = {"round_closes_at": 0.6, "round_timeout": 30.0}


def charged(tmp_path: Path) -> dict[str, int]:
    return {name: len(charges(tmp_path / "ledgers" / name)) for name in NAMES}


@pytest.mark.parametrize("told", [{}, {"dp_combine": "per-site"}], ids=["sum", "per-site"])
def test_a_late_private_release_is_charged_once_and_used(run, tmp_path: Path, told: dict) -> None:
    late = held_back(12, lambda grid: count(grid, "evaluate") >= 2)
    folder, metrics, grid = run(before=late, **LOUD, **EARLY, **told)
    one, two = metrics["rounds"]
    assert (one["late"], set(one["train"])) == (["south"], {"north", "west"})
    assert set(two["train"]) == {"south"}
    assert two["sections"]["plate"]["sites"] == list(NAMES)
    assert one["sections"]["plate"]["sites"] == ["north", "west"]
    assert charged(tmp_path) == {"north": 1, "south": 1, "west": 2}  # west makes two products
    assert two["train"]["south"]["privacy"]["releases"] == 1
    assert count(grid, "train") == 3
    assert set(MemoryBank.load(folder / "bank.safetensors").sites) == set(NAMES)
    assert privacy(folder)["epsilon"] == pytest.approx(60, rel=1e-3)


def test_the_late_sum_is_the_sum_of_all(run, tmp_path: Path, monkeypatch) -> None:
    """The second version is read from the very releases of a patient run."""
    from fedpatchcore.server.private_rounds import PrivateRounds

    seen: list[dict] = []
    real = PrivateRounds.sections

    def sections(self):
        seen.append({n: {s: r.values for s, r in g.items()} for n, g in self.sums.items()})
        return real(self)

    monkeypatch.setattr(PrivateRounds, "sections", sections)
    run(before=held_back(12, lambda grid: count(grid, "evaluate") >= 2), **LOUD, **EARLY)
    first, second = seen
    assert set(first["plate"]) == {"north", "west"}
    assert set(second["plate"]) == set(NAMES)
    for site in first["plate"]:
        np.testing.assert_array_equal(first["plate"][site], second["plate"][site])


def test_a_site_that_is_not_chosen_is_not_charged(run, tmp_path: Path) -> None:
    _, metrics, _grid = run(**LOUD, selection="random", sites_per_round=2)
    turn = metrics["rounds"][0]["selection"]
    (left,) = turn["passed_over"]
    asked = charged(tmp_path)
    assert asked[left] == 0
    assert all(asked[site] for site in turn["chosen"])
    assert set(metrics["rounds"][0]["train"]) == set(turn["chosen"])
    assert set(metrics["rounds"][0]["evaluate"]) == set(NAMES)


def test_a_private_sites_not_now_says_when_and_nothing_else(run, nodes, tmp_path: Path) -> None:
    nodes[12]["metered"] = "*"
    _, metrics, _ = run(told=nodes, **LOUD)
    (told,) = metrics["rounds"][0]["not_now"].items()
    assert told[0] == "south"
    assert told[1].startswith("not now: ")
    assert charged(tmp_path)["south"] == 0
