"""A private run over real processes: every site's ledger is charged once a round."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.names import NAMES
from tests.support.private import charges, privacy
from tests.support.processes import command, only_run
from tests.support.products import picture, write_product


def test_a_private_simulation_with_real_processes(tmp_path: Path) -> None:
    for at, name in enumerate(NAMES):
        write_product(tmp_path / "data" / name / "plate", seed=1000 * at, train=8)
    (tmp_path / "public").mkdir()
    for at in range(6):
        picture(50_000 + at).save(tmp_path / "public" / f"{at}.png")
    told = {
        "backbone": "filterbank",
        "geometry": "full",
        "image-size": 64,
        "dp": "cells",
        "dp-epsilon": 30,
        "dp-budget-epsilon": 30,
        "dp-cells": 8,
        "dp-projection": 6,
        "dp-codebook": tmp_path / "public",
        "coreset-size": 50,
        "threads": 1,
        "heatmaps": 0,
        "num-rounds": 2,
    }
    words = ("simulate", "--data", tmp_path / "data", "--out", tmp_path / "out")
    done = command(tmp_path / "home", *words, table=told)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_run(tmp_path / "out")
    assert privacy(folder)["epsilon"] == pytest.approx(30, rel=1e-6)
    assert set(privacy(folder)["sites"]) == set(NAMES)
    for name in NAMES:
        assert len(charges(folder / "sites" / name / "ledger")) == 2
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.privacy["mechanism"] == "cells" and bank.round == 2


def test_private_training_with_real_processes(tmp_path: Path, weights_file: Path) -> None:
    """Each round is charged once at each site, and the bank says so."""
    for at, name in enumerate(NAMES):
        write_product(tmp_path / "data" / name / "plate", seed=1000 * at, train=8)
    told = {
        "backbone": "squeezenet1_1",
        "layers": "features.4,features.7",
        "weights": weights_file,
        "geometry": "full",
        "image-size": 64,
        "method": "student",
        "student-width": 16,
        "dp": "sgd",
        "dp-epsilon": 8,
        "dp-budget-epsilon": 8,
        "dp-sample-rate": 0.5,
        "local-batch": 4,
        "threads": 1,
        "heatmaps": 0,
        "num-rounds": 2,
    }
    words = ("simulate", "--data", tmp_path / "data", "--out", tmp_path / "out")
    done = command(tmp_path / "home", *words, table=told)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_run(tmp_path / "out")
    assert privacy(folder)["epsilon"] == pytest.approx(8, rel=1e-3)
    for name in NAMES:
        made = charges(folder / "sites" / name / "ledger")
        assert [(c.mechanism, c.rate, c.steps) for c in made] == [("sgd", 0.5, 2)] * 2
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.privacy["mechanism"] == "sgd" and bank.round == 2
    assert bank.sections["plate"].student is not None and not bank.thresholds
