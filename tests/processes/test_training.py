"""Methods that train, over real Flower processes: the same bank as by library calls, to the bit.

About a minute a test (make test-processes). Killed sites: `tests/faults/test_training.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.setup import open_site, use_threads
from server_app.optimisers import rule_of
from tests.support.processes import command, only_run
from tests.support.products import three_sites

ROUNDS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_sites(tmp_path_factory.mktemp("field") / "sites")


@pytest.fixture(scope="module")
def config(weights_file: Path) -> dict[str, object]:
    return {
        "backbone": "squeezenet1_1",
        "layers": "features.4,features.7",
        "geometry": "full",
        "image-size": 96,
        "weights": str(weights_file),
        "coreset-size": 40,
        "global-bank-size": 90,
        "num-rounds": ROUNDS,
        "threads": 1,
        "heatmaps": 0,
        "local-batch": 4,
        "learning-rate": 0.05,
    }


@pytest.mark.parametrize(
    "told",
    [
        {"method": "feddymem"},
        {"method": "feddymem", "generators": "own"},
        {"method": "generator", "optimiser": "fedavg", "update-wire": "int8"},
        {"method": "generator", "optimiser": "scaffold"},
        {"method": "student", "optimiser": "fedavg"},
        {"method": "student", "optimiser": "scaffold", "update-wire": "topk"},
    ],
    ids=lambda told: "-".join(told.values()),
)
def test_processes_and_library_calls_make_the_same_bank(
    data: Path,
    config: dict[str, object],
    told: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {**config, **told}
    nodes = command(
        tmp_path / "home", "rehearse", "--data", data, "--out", tmp_path / "out", table=table
    )
    assert nodes.returncode == 0, nodes.stdout + nodes.stderr
    run = only_run(tmp_path / "out")

    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home-2"))
    use_threads(1)
    settings = RunConfig.parse({**table, "expected-sites": 3}, where="test")
    sites = [
        open_site(settings, NodeConfig(site=folder.name, data=str(folder)))
        for folder in sorted(data.iterdir())
    ]
    again = federate(sites, rounds=ROUNDS, federation=Federation(settings, rules=rule_of))
    assert (run / "bank.safetensors").read_bytes() == again.bank.to_bytes()

    rounds = json.loads((run / "metrics.json").read_text())["rounds"]
    assert len(rounds) == ROUNDS
    if told.get("generators") != "own":
        assert [one["sections"]["plate"]["updates"] for one in rounds] == [3] * ROUNDS
    assert (run / "report.html").is_file()
