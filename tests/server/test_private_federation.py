"""Private runs through both real apps: whole runs, their mechanisms, their combinations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Error, RecordDict

from client_app.app import app as client_app
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import ConfigError
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.setup import open_site
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.private import LOUD, charges, privacy
from tests.support.products import write_product

# -- a whole run ----------------------------------------------------------------------


def test_a_private_run_says_what_protects_whom(run, tmp_path: Path) -> None:
    folder, metrics, _ = run(**LOUD, compare_local=True)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"}
    assert bank.sites == NAMES and bank.aggregation == "cell_sums"
    assert bank.thresholds == {}
    assert bank.privacy["mechanism"] == "cells"
    assert bank.privacy["adjacency"] == "add/remove" and bank.privacy["delta"] == 1e-5
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    told = privacy(folder)
    assert set(told["sites"]) == set(NAMES)
    assert (
        told["epsilon"]
        == bank.privacy["epsilon"]
        == max(note["spent"] for note in told["sites"].values())
    )
    assert told["withheld"] and told["not_covered"] and told["covered"]
    assert not any("virtual" in line for line in told["not_covered"])
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert [c.section for c in made] == (["plate", "ring"] if name == "west" else ["plate"])
        assert {c.mechanism for c in made} == {"cells"} and {c.run for c in made} == {
            RunFolder(folder).identity
        }
        note = metrics["rounds"][0]["train"][name]["privacy"]
        assert (note["asked"], note["again"]) == (pytest.approx(60, rel=1e-6), False)
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert (found["good"], found["defective"]) == (3, 3)
    assert 0 <= found["image_auroc"] <= 1 and found["pixel_auroc"] > 0.5
    assert len(bank.section("plate")) >= 6  # of 12 cells: the sums rise above the noise
    assert found["threshold"] is None and found["calibrated"] is None
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert own["calibrated"] == 1 and own["threshold"] > 0
    assert 0 <= own["hybrid_image_auroc"] <= 1 and own["local_image_auroc"] > 0.9
    report = (folder / "report.html").read_text()
    assert own["hybrid_threshold"] > 0 and "as hybrid_threshold in private.json" in report
    written = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    evaluated = [event for event in written if event["event"] == "evaluated"]
    assert len(evaluated) == 3 and all(e["image_auroc"]["plate"] is not None for e in evaluated)
    assert all(e["defects_found"] == e["good_stopped"] == {} for e in evaluated)


def test_little_budget_is_little_use_and_no_crash(run) -> None:
    """ε = 1 and six images: nothing rises above the noise, and the run says so and ends."""
    folder, metrics, _ = run()
    (record,) = metrics["rounds"]
    assert set(record["train"]) == set(NAMES)
    assert record["sections"]["plate"]["rows"] <= 3
    assert len(MemoryBank.load(folder / "bank.safetensors").section("plate")) <= 3


def test_a_run_with_moments_makes_a_bank_that_detects(run, tmp_path: Path) -> None:
    folder, metrics, _ = run(**LOUD, dp="moments", compare_local=True)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"} and bank.aggregation == "moment_sums"
    for section in bank.sections.values():
        assert section.features.shape == (1, 128) and section.metric.shape == (128, 6)
    assert bank.privacy["mechanism"] == "moments" and "NOT" not in bank.privacy["unit"]
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    told = privacy(folder)
    assert set(told["sites"]) == set(NAMES) and told["withheld"]
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert {c.mechanism for c in made} == {"moments"} and "per image" in made[0].label
        assert all(c.epsilon == pytest.approx(60, rel=1e-6) for c in made)
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert found["image_auroc"] > 0.7 and found["pixel_auroc"] > 0.6
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert 0 <= own["hybrid_image_auroc"] <= 1 and own["threshold"] > 0
    assert (folder / "report.html").stat().st_size > 5_000
    run(**LOUD, dp="moments", resume=str(folder))
    assert privacy(folder)["sites"] == told["sites"]


def test_a_run_with_a_kernel_makes_a_bank_that_detects(run, tmp_path: Path) -> None:
    """From the same codebook file: its slice counts, its cells give way to waves."""
    told = dict(LOUD, dp="kernel", dp_waves=300, dp_bandwidth=0.1, compare_local=True)
    folder, metrics, _ = run(**told)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"} and bank.aggregation == "kernel_sums"
    for section in bank.sections.values():
        assert section.features.shape == (1, 128) and section.metric.shape == (128, 300)
        assert section.amplitudes.shape == (600,)
    assert bank.privacy["mechanism"] == "kernel" and "NOT" not in bank.privacy["unit"]
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert {c.mechanism for c in made} == {"kernel"} and "per image" in made[0].label
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert found["image_auroc"] > 0.7
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert 0 <= own["hybrid_image_auroc"] <= 1 and own["threshold"] > 0
    kept = MemoryBank.load(tmp_path / "own" / "north" / "run" / "own.safetensors")
    assert kept.hybrid["plate"]["threshold"] == pytest.approx(own["hybrid_threshold"])
    assert kept.hybrid["plate"]["beside"] == bank.sections["plate"].digest


def test_virtual_sites_are_named_as_such(run, sites_folder: Path) -> None:
    told = {at: {"partition-id": at - 1, "num-partitions": 3} for at in (1, 2, 3)}
    folder, metrics, _ = run(told=told, data=str(sites_folder), **LOUD)
    assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    for name in NAMES:
        assert len(charges(folder / "sites" / name / "ledger")) >= 1
        assert (folder / "sites" / name / "private.json").is_file()
    assert "virtual sites begin a ledger with each run" in privacy(folder)["not_covered"][0]


# -- a later round --------------------------------------------------------------------


def test_a_product_that_joins_later_starts_from_the_public_codebook(run, nodes) -> None:
    def grow(grid: FakeGrid) -> None:
        send = grid.push_messages

        def push(messages):
            messages = list(messages)
            if [k for _, k in grid.sent].count("evaluate") == 3:
                write_product(Path(nodes[11]["data"]) / "disc", seed=31_000)
            return send(messages)

        grid.push_messages = push

    folder, metrics, _ = run(before=grow, **LOUD, num_rounds=2)
    assert "disc" not in metrics["rounds"][0]["sections"]
    assert metrics["rounds"][1]["sections"]["disc"]["sites"] == ["north"]
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate", "ring", "disc"}


def test_a_later_round_without_quorum_still_measures_the_old_bank(run) -> None:
    trained = []

    def alter(node, kind, reply):
        trained.extend([node] * (kind == "train"))
        return Error(5, "") if kind == "train" and len(trained) > 3 else reply

    folder, metrics, _ = run(alter, **LOUD, num_rounds=2)
    two = metrics["rounds"][1]
    assert "no quorum" in two["notes"][0]
    assert MemoryBank.load(folder / "bank.safetensors").round == 1
    assert set(two["evaluate"]) == set(NAMES), two["rejected"]


# -- combinations ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coordinate_median", "site_vote", "federated_coreset"])
def test_banks_of_each_site_can_be_compared_instead_of_added(name: str, run) -> None:
    folder, metrics, _ = run(
        **LOUD, dp_combine="per-site", aggregation=name, min_sites=3, num_rounds=2
    )
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.aggregation == name and set(bank.sections) == {"plate", "ring"}
    assert bank.privacy["mechanism"] == "cells"
    assert privacy(folder)["epsilon"] == pytest.approx(60, rel=1e-6)
    assert metrics["rounds"][1]["sections"]["plate"]["sites"] == list(NAMES)
    assert metrics["rounds"][1]["evaluate"]["north"]["products"]["plate"]["image_auroc"] is not None
    assert all(not section.images for section in bank.sections.values())  # counts are withheld


def test_local_figures_under_clipping_compare_like_with_like(
    table, sites_folder: Path, tmp_path: Path
) -> None:
    """A training image that is also a test image: its distance to the site's own bank is 0."""
    from fedpatchcore.inprocess import federate
    from fedpatchcore.site.evaluation import evaluate_site

    told = {"dp": "per-vector", "dp_epsilon": 8.0, "dp_budget_epsilon": 1e4, "dp_clip": 0.3}
    config = RunConfig.parse(
        table(
            **told,
            min_sites=1,
            data=str(sites_folder),
            global_bank_size=5000,
            holdout=0.0,
            compare_local=True,
        ),
        where="test",
    )
    train = sites_folder / "north" / "plate" / "train" / "good"
    for path in (sites_folder / "north" / "plate" / "test" / "good").iterdir():
        shutil.copy(train / path.name, path)
    node = NodeConfig(partition_id=0, num_partitions=3)
    site = open_site(config, node, run_folder=tmp_path / "r")
    bank = federate([site], evaluate=False).bank
    seen = {}

    def spy(self, features):
        found = call(self, features)
        seen.setdefault(len(self.rows), []).append(found.patches)
        return found

    call = Scorer.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "__call__", spy)
        evaluate_site(site, bank)
    own = np.concatenate(seen[len(site.own_rows("plate"))])
    assert own.min() < 1e-2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"dp_epsilon": 2.0}, "no site could pay"),
        ({"dp": "per-vector", "dp_codebook": "sample", "num_rounds": 2}, "num-rounds=1"),
        ({"robustness_enabled": True, "min_sites": 3}, "dp-combine=per-site"),
        ({"dp_delta": 1.0}, "dp-delta"),
        ({"dp_cells": 0}, "dp-cells"),
    ],
)
def test_settings_that_void_the_guarantee_stop_the_run_first(table, overrides, words: str) -> None:
    config = table() | {k.replace("_", "-"): v for k, v in overrides.items()}
    grid = FakeGrid(client_app, {}, config)
    with pytest.raises(ConfigError, match=words):
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
    assert grid.sent == []
