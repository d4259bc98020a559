"""A run that chooses settings: both apps, three sites, figures alone on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from client_app.app import app as client_app
from client_app.records import from_records
from fedpatchcore.cli.common import settings as told
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.watch import RunView
from fedpatchcore.sealed import read_sealed
from fedpatchcore.server import tuning as rounds
from fedpatchcore.tuning.candidates import Candidate
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.products import write_product


def test_figures_leave_and_settings_come(tmp_path: Path, settings, monkeypatch) -> None:
    tried = [
        Candidate(),
        Candidate({"neighbours": 3}),
        Candidate({"backbone": "resnet18", "layers": "", "weights": ""}),
    ]
    monkeypatch.setattr(rounds, "coarse", lambda base, backbones: tried)
    monkeypatch.setattr(rounds, "finer", lambda base, best: [])
    config = settings(
        out_dir=str(tmp_path / "runs"),
        run_name="run",
        wait_seconds=1.0,
        tune="worst",
        tune_images=8,
        folds=2,
        coreset_size=20,
    )
    for at, name in enumerate(NAMES[:2]):
        write_product(tmp_path / name / "plate", train=8, good=0, bad=0, seed=1000 * at)
    nodes = {at: {"site": n, "data": str(tmp_path / n)} for at, n in enumerate(NAMES[:2], 11)}
    seen: list[RecordDict] = []

    def look(node, kind, reply):
        if kind == "query.tune":
            seen.append(reply.content)
        return reply

    grid = FakeGrid(client_app, nodes, config.table(), look)
    server_app(grid, Context(1, 0, {}, RecordDict(), config.table()))
    run = tmp_path / "runs" / "run"
    assert {"tuned.toml", "tune.html", "tune.png", "tune.json"} <= {
        path.name for path in run.iterdir()
    }
    assert not (run / "bank.safetensors").exists()
    assert {kind for _, kind in grid.sent} == {"query", "query.tune"}
    for content in seen:
        packet = from_records(content)
        assert packet.arrays == {} and len(str(packet.numbers)) < 5000  # no feature, no score
    found = read_sealed(run / "tune.json", error=ConfigError)
    assert found["basis"].startswith("of the worst of 2 sites")
    assert set(found["sites"]["8"]["as told"]) == {"north", "south"}
    assert list(found["left_out"]) == ["backbone=resnet18 layers= weights="]
    assert "no weights for 'resnet18'" in found["left_out"]["backbone=resnet18 layers= weights="]
    chosen = RunConfig.parse({**config.table(), **told([str(run / "tuned.toml")])}, where="x")
    assert chosen.neighbours == (3 if "neighbours" in found["chosen"] else 1)
    view = RunView()
    for line in (run / "events.jsonl").read_text().splitlines():
        view.take(json.loads(line))
    assert view.settings.endswith("tuned.toml") and not view.failed


@pytest.mark.parametrize(
    "more",
    [{"dp": "cells"}, {"attack": "noise", "malicious-fraction": 0.3}, {"resume": "x"}],
    ids=str,
)
def test_what_it_cannot_go_with_is_refused_by_name(more: dict) -> None:
    key = next(iter(more))
    with pytest.raises(ConfigError, match=f"tune='worst' takes no {key}"):
        RunConfig.parse({"tune": "worst", **more}, where="settings")
