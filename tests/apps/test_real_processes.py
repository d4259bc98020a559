"""Real Flower processes over loopback, started by the commands people use."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.site.setup import open_site, use_threads
from tests.support.processes import command, only_run
from tests.support.products import three_sites
from tests.support.wheels import Installed

pytestmark = pytest.mark.slow


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
        "coreset-size": 50,
        "global-bank-size": 90,
        "num-rounds": 2,
        "threads": 1,
        "heatmaps": 1,
    }


def flower_processes(home: Path) -> set[int]:
    """Flower's processes that were started with this home; other tests may run their own."""
    found, mark = set(), f"FEDPATCHCORE_HOME={home}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
            ours = mark in (entry.parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and any(w.endswith((b"flower-superlink", b"flower-supernode")) for w in words[:3]):
            found.add(int(entry.parent.name))
    return found


@pytest.mark.long
def test_three_ways_give_the_same_bank_to_the_bit(
    data: Path,
    config: dict[str, object],
    user: Installed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Simulation, SuperLink with SuperNode processes, and library calls; no cache is shared.

    The first two are an installed wheel's, in a folder that has nothing of the tree.
    """

    def call(home: Path, *words: object) -> CompletedProcess:
        python, empty = user.bin / "python", user.home / "empty"
        return command(home, *words, table=config, python=python, folder=empty)

    simulated = call(tmp_path / "home-1", "simulate", "--data", data, "--out", tmp_path / "1")
    assert simulated.returncode == 0, simulated.stdout + simulated.stderr
    nodes = call(tmp_path / "home-2", "rehearse", "--data", data, "--out", tmp_path / "2")
    assert nodes.returncode == 0, nodes.stdout + nodes.stderr
    assert not flower_processes(tmp_path / "home-2")  # nothing is left running

    first, second = only_run(tmp_path / "1"), only_run(tmp_path / "2")
    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home-3"))
    use_threads(1)
    settings = RunConfig.parse({**config, "expected-sites": 3}, where="test")
    sites = [
        open_site(settings, NodeConfig(site=folder.name, data=str(folder)))
        for folder in sorted(data.iterdir())
    ]
    third = federate(sites, rounds=2).bank.to_bytes()
    assert (first / "bank.safetensors").read_bytes() == third
    assert (second / "bank.safetensors").read_bytes() == third

    bank = MemoryBank.load(first / "bank.safetensors")
    assert bank.sites == ("north", "south", "west")
    assert set(bank.sections) == {"plate", "ring"}
    for run in (first, second):
        metrics = json.loads((run / "metrics.json").read_text())
        one, two = metrics["rounds"]
        assert {s["kind"] for s in one["train"].values()} == {"full"}
        assert {s["kind"] for s in two["train"].values()} == {"none"}
        assert {s["bytes"] for s in two["train"].values()} == {0}
        assert (run / "report.html").is_file()
    assert list((first / "heatmaps").glob("*.png"))  # a simulation shares the server's disk
    assert not (second / "heatmaps").is_dir()  # real sites keep their pictures
    assert list((tmp_path / "home-2" / "sites" / "north" / "results").rglob("*.png"))
    assert "north,plate" in (first / "partition.csv").read_text()
    for words in ("local only", "federated", "plate", "report"):
        assert words in simulated.stdout


@pytest.mark.long
def test_a_run_that_fails_says_why_and_exits_two(
    data: Path, config: dict[str, object], tmp_path: Path
) -> None:
    """Flower itself exits 0 when a streamed run fails."""
    table = {**config, "weights": "/nowhere/weights.pth"}
    done = command(
        tmp_path / "home", "simulate", "--data", data, "--out", tmp_path / "out", table=table
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the run ended as 'finished:failed'")
    assert "weights file /nowhere/weights.pth does not exist" in done.stderr
    events = (only_run(tmp_path / "out") / "events.jsonl").read_text()
    assert '"failed"' in events
