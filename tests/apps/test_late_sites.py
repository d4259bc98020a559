"""Rounds that go on before all have answered, and what comes late."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig
from fedpatchcore.site.setup import open_site
from tests.support.products import picture
from tests.support.slowgrid import count, held_back

EARLY = {"round_closes_at": 0.6, "round_timeout": 30.0}  # of three sites: two


def events(folder: Path, what: str) -> list[dict]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, lines) if one["event"] == what]


def rows(folder: Path) -> dict[str, np.ndarray]:
    sections = MemoryBank.load(folder / "bank.safetensors").sections
    return {name: part.features for name, part in sections.items()}


def test_one_round_and_its_late_site_make_the_bank_of_a_patient_run(run, tmp_path: Path) -> None:
    patient, _, _ = run()
    expected = rows(patient)
    patient.rename(tmp_path / "patient")
    late = held_back(12, lambda grid: count(grid, "evaluate") >= 2)
    folder, metrics, grid = run(before=late, **EARLY)
    first, last = metrics["rounds"]
    assert (set(first["train"]), first["late"]) == ({"north", "west"}, ["south"])
    assert first["absent"] == last["absent"] == []
    assert last["train"]["south"]["late_from"] == 1
    assert set(last["evaluate"]) == {"north", "south", "west"}
    found = rows(folder)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert count(grid, "train", 12) == 1
    assert events(folder, "closed") == [
        {**events(folder, "closed")[0], "round": 1, "late": ["south"], "of": 3}
    ]
    # between the two versions the first was published and judged
    merged, judged = events(folder, "merged"), events(folder, "evaluated")
    assert [one["round"] for one in merged] == [1, 2]
    assert sorted(one["site"] for one in judged if one["round"] == 1) == ["north", "west"]


def test_a_late_answer_goes_into_the_next_round_and_its_site_is_not_asked_meanwhile(run) -> None:
    late = held_back(12, lambda grid: count(grid, "train") >= 5)
    folder, metrics, grid = run(before=late, num_rounds=3, **EARLY)
    one, two, three = metrics["rounds"]
    assert one["late"] == ["south"]
    assert two["train"]["south"]["late_from"] == 1
    assert (two["train"]["south"]["kind"], three["train"]["south"]["kind"]) == ("full", "none")
    assert "late_from" not in three["train"]["south"]
    assert count(grid, "train", 12) == 2
    assert set(two["evaluate"]) >= {"north", "west"}
    assert set(three["evaluate"]) == {"north", "south", "west"}
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "south", "west")


def covering(folder: Path, sites: Path, settings) -> dict[str, float]:
    """By brute force: the largest distance of any training patch to its nearest row."""
    found: dict[str, float] = {}
    bank = rows(folder)
    for place in sorted(sites.iterdir()):
        site = open_site(settings(), NodeConfig(site=place.name, data=str(place)))
        for name, product in site.products.items():
            features, _, _ = site.extractor.all(product.train)
            patches = features.rows.astype(np.float64)
            gaps = patches[:, None] - bank[name][None].astype(np.float64)
            nearest = np.sqrt((gaps**2).sum(-1)).min(1)
            found[name] = max(found.get(name, 0.0), float(nearest.max()))
    return found


@pytest.mark.long
@pytest.mark.parametrize("wire", ["float32", "int8"])
def test_hasty_and_patient_banks_cover_alike_while_new_images_come(
    wire: str, run, sites_folder: Path, tmp_path: Path, settings
) -> None:
    """Three rounds; new images at north and south before the second; south is late with it."""

    def more(grid, already: list) -> None:
        if count(grid, "evaluate") >= 3 and not already:
            already.append(True)
            for name, seed in (("north", 7000), ("south", 8000)):
                for at in range(3):  # of another kind than all there were
                    place = sites_folder / name / "plate" / "train" / "good" / f"new{at}.png"
                    picture(seed + at, defect=True).save(place)

    def growing(then):
        def before(grid) -> None:
            already: list = []
            ids = grid.get_node_ids
            grid.get_node_ids = lambda: (more(grid, already), ids())[1]
            if then:
                then(grid)

        return before

    told = {"num_rounds": 3, "wire": wire}
    patient, metrics, _ = run(before=growing(None), **told)
    assert metrics["rounds"][1]["train"]["south"]["kind"] == "delta"
    wanted, reach = covering(patient, sites_folder, settings), metrics["rounds"][-1]["sections"]
    patient_rows = rows(patient)
    patient.rename(tmp_path / "patient")
    for path in sites_folder.rglob("new*.png"):
        path.unlink()

    late = held_back(12, lambda grid: count(grid, "train") >= 8, which=2)
    folder, metrics, _ = run(before=growing(late), **told, **EARLY)
    sections = metrics["rounds"][-1]["sections"]
    found, hasty_rows = covering(folder, sites_folder, settings), rows(folder)
    assert any(one.get("late_from") for r in metrics["rounds"] for one in r["train"].values())
    for name in wanted:
        bound = max(sections[name]["reach"], reach[name]["reach"])
        assert found[name] <= bound + 1e-4
        assert wanted[name] <= bound + 1e-4
        gaps = np.linalg.norm(patient_rows[name][:, None] - hasty_rows[name][None], axis=-1)
        assert max(gaps.min(0).max(), gaps.min(1).max()) <= bound + 1e-4
