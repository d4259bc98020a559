"""FedBuff over real processes: a slow site holds nobody up, and the bank is what its record gives.

About two minutes (make test-processes).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.runs import launch
from fedpatchcore.runs.launch import LocalFlower
from fedpatchcore.site.setup import open_site, use_threads
from tests.support.flowing import arrivals, replayed
from tests.support.places import ROOT
from tests.support.processes import only_run
from tests.support.products import write_product

SITES = ("north", "south", "west")
MODELS, SECONDS = 3, 60
TOLD = {
    "method": "generator",
    "optimiser": "fedbuff",
    "buffer": 2,
    "num-rounds": MODELS,
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 64,
    "coreset-size": 40,
    "global-bank-size": 90,
    "heatmaps": 0,
    "threads": 1,
    "local-batch": 4,
    "learning-rate": 0.05,
    "expected-sites": 3,
    "wait-seconds": 600,
}


class OneIsSlow(LocalFlower):
    """Three sites; the first local steps of the last one take a minute longer."""

    def __init__(self, place: Path) -> None:
        paths = {"PYTHONPATH": str(ROOT), "FEDPATCHCORE_HOME": str(place / "home")}
        super().__init__(simulation=False, logs=place / "logs", environment=paths)
        self.data = place / "sites"
        self.fault = place / "fault.json"
        told = {"where": "fedpatchcore.learned.local:train_locally", "do": "hang"}
        self.fault.write_text(json.dumps({**told, "times": 1, "seconds": SECONDS}))
        for at, name in enumerate(SITES):
            write_product(self.data / name / "plate", seed=1000 * at, train=8)

    def _env(self, who: str) -> dict[str, str]:
        env = super()._env(who)
        if who == f"site-{SITES[-1]}":
            inject = str(ROOT / "tests" / "faults" / "inject")
            path = os.pathsep.join([inject, env["PYTHONPATH"]])
            env |= {"FAULT_FILE": str(self.fault), "PYTHONPATH": path}
        return env


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The run's folder and the sites' data."""
    place = tmp_path_factory.mktemp("slow")
    launch.START_SECONDS = 300.0  # a busy machine
    with OneIsSlow(place) as field:
        for name in SITES:
            field.supernode(name, field.data / name)
        lines: list[str] = []
        run = field.submit({**TOLD, "out-dir": str(place / "runs")})
        status = field.follow(run, lines.append, timeout=1200)
        assert status == "finished:completed", "\n".join(lines[-40:])
        return only_run(place / "runs"), field.data


def told_of(run: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def test_a_slow_site_holds_nobody_up(ran: tuple[Path, Path]) -> None:
    events = told_of(ran[0])
    trained = [e for e in events if e["event"] == "trained"]
    slow = [e for e in trained if e["site"] == SITES[-1]]
    before = trained[: trained.index(slow[0])] if slow else trained
    assert len(before) >= 2, "the others waited for the slow site"
    assert {e["site"] for e in before} <= set(SITES[:-1])
    first = next(at for at, e in enumerate(events) if e["event"] == "checkpoint")
    assert not slow or events.index(slow[0]) > first
    (last,) = [e for e in events if e["event"] == "finished"]
    assert {row["site"] for row in last["rows"]} >= set(SITES), "all judge by the last bank"


def test_the_bank_is_what_its_record_gives(
    ran: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, data = ran
    rounds = json.loads((run / "metrics.json").read_text())["rounds"]
    assert len(rounds) == MODELS
    order = arrivals(rounds)
    assert len(order) == 2 * MODELS
    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home"))
    use_threads(1)
    config = RunConfig.parse(TOLD, where="test")
    sites = [open_site(config, NodeConfig(site=n, data=str(data / n))) for n in SITES]
    found, x = replayed(config, sites, order)
    bank = MemoryBank.load(run / "bank.safetensors")
    assert bank.sites == found.sites and bank.round == MODELS
    part = bank.sections["plate"]
    assert part.digest == found.sections["plate"].digest
    assert abs(part.metric - x).max() < 1e-5
    assert (run / "report.html").is_file()
