"""Settings chosen, and defects planted, over real Flower processes: what comes is what is true.

About a minute a test (make test-processes).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.cli.common import settings as told
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.inprocess import federate
from fedpatchcore.sealed import read_sealed
from fedpatchcore.site.setup import open_site, use_threads
from fedpatchcore.site.tuning import tune_reply
from fedpatchcore.wire.tuning import TuneQuestion
from tests.support.names import NAMES
from tests.support.processes import command, only_run
from tests.support.products import write_product

SITES = NAMES[:2]
TABLE = {
    "backbone": "filterbank",
    "geometry": "whole",
    "image-size": 64,
    "coreset-size": 30,
    "global-bank-size": 60,
    "threads": 1,
    "heatmaps": 0,
    "folds": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("field") / "sites"
    for at, name in enumerate(SITES):
        write_product(root / name / "plate", train=9, good=5, bad=2, seed=1000 * at)
    return root


def opened(data: Path, **more) -> list:
    config = RunConfig.parse({**TABLE, "expected-sites": 2, **more}, where="test")
    use_threads(1)
    return [open_site(config, NodeConfig(site=n, data=str(data / n))) for n in SITES]


def test_sites_try_candidates_and_the_worst_site_decides(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**TABLE, "tune": "worst", "tune-images": 8}
    out = tmp_path / "out"
    done = command(tmp_path / "home", "rehearse", "--data", data, "--out", out, table=table)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(out)
    assert {"tuned.toml", "tune.html", "tune.png", "tune.json"} <= {p.name for p in run.iterdir()}
    assert not list(run.rglob("*.safetensors"))  # no bank, and no row of a site
    found = read_sealed(run / "tune.json", error=ConfigError)
    (images, by_candidate) = list(found["sites"].items())[-1]
    assert len(by_candidate) > 4 and set(by_candidate["as told"]) == set(SITES)
    worst = {
        name: min(site["auroc"] for site in own.values()) for name, own in by_candidate.items()
    }
    assert worst[found["chosen"]] == max(worst.values())
    chosen = RunConfig.parse({**TABLE, **told([str(run / "tuned.toml")])}, where="test")
    assert chosen.backbone == "filterbank" or "backbone" in found["chosen"]

    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home-2"))
    question = TuneQuestion(({}, {"geometry": "full", "image-size": 128}), int(images))
    names = ("as told", "geometry=full image-size=128")
    for site in opened(data, tune="worst", **{"tune-images": 8}):
        for line in tune_reply(site, question).tried:
            over_the_wire = by_candidate[names[line.candidate]][site.name]
            assert line.auroc == pytest.approx(over_the_wire["auroc"], abs=1e-9)
            assert (line.low, line.high) == pytest.approx(
                (over_the_wire["low"], over_the_wire["high"]), abs=1e-9
            )


def test_planted_defects_are_counted_at_the_sites_and_on_the_bank(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**TABLE, "planted-trials": 24}
    out = tmp_path / "out"
    done = command(tmp_path / "home", "rehearse", "--data", data, "--out", out, table=table)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s an image, 9 images: " in done.stdout  # said at the roll call
    run = only_run(out)
    told_of = json.loads((run / "metrics.json").read_text())["planted"]["plate"]
    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home-2"))
    again = federate(opened(data, **{"planted-trials": 24}))
    assert (run / "bank.safetensors").read_bytes() == again.bank.to_bytes()
    bank = MemoryBank.load(run / "bank.safetensors")
    for site in SITES:
        own = told_of["sites"][site]
        assert own["pictures"] == 5 and not own["learnt"]
        cells = {key: sum(cell[key] for cell in own["cells"]) for key in ("found", "of")}
        assert 10 < cells["of"] <= 24
        assert {key: bank.planted["plate"][site][key] for key in cells} == cells
    words = ("evaluate", run / "bank.safetensors", data / SITES[0], "--planted", "--trials", 24)
    done = command(tmp_path / "home", *words, "--site", SITES[0], "--json", table={})
    assert done.returncode == 0, done.stdout + done.stderr
    planted = json.loads(done.stdout.splitlines()[-1])["planted"]
    by_cell = lambda cell: (cell["kind"], cell["size"], cell["contrast"])  # noqa: E731
    own = told_of["sites"][SITES[0]]["cells"]  # one seed, one threshold: the same hits
    assert sorted(planted["cells"], key=by_cell) == sorted(own, key=by_cell)
