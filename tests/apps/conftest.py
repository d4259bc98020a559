"""A run of both apps over the folders of three sites."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from client_app.app import app as client_app
from fedpatchcore.config import RunConfig
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES


@pytest.fixture
def run(tmp_path: Path, sites_folder: Path, settings: Callable[..., RunConfig]):
    """Run the apps over the three sites' folders; returns (run folder, metrics, grid)."""

    def start(alter=lambda n, k, reply: reply, *, nodes=None, before=None, **overrides):
        out = tmp_path / "runs"
        if (out / "run").exists() and "resume" not in overrides:  # nobody's results are replaced
            out = tmp_path / f"runs-{len(list(tmp_path.glob('runs*'))) + 1}"
        told = {"out_dir": str(out), "run_name": "run", "wait_seconds": 1.0}
        config = settings(**told, **overrides).table()
        sites = nodes or {
            at: {"site": name, "data": str(sites_folder / name)}
            for at, name in enumerate(NAMES, start=11)
        }
        grid = FakeGrid(client_app, sites, config, alter)
        if before:
            before(grid)
        context = Context(1, 0, {}, RecordDict(), config)
        app: ServerApp = server_app
        app(grid, context)
        folder = Path(overrides.get("resume", out / "run"))
        return folder, json.loads((folder / "metrics.json").read_text()), grid

    return start
