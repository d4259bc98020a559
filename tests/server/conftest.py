"""Private runs over three sites that keep ledgers, and single messages to one of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

from client_app.app import app as client_app
from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.codebook import ANY, Codebook, public_codebook
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.private import LOUD
from tests.support.products import picture


@pytest.fixture(scope="session")
def book_file(backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codebook of public pictures, so that no sample has to be drawn."""
    folder = tmp_path_factory.mktemp("public")
    for at in range(6):
        picture(50_000 + at, defect=at > 3).save(folder / f"{at}.png")
    features, _, _ = Extractor(backbone).all(sorted(folder.iterdir()))
    features = features.dense()
    book = public_codebook(features.reshape(-1, 128), 12, 6, seed=0, source="pictures")
    book.save(folder / "book.safetensors", backbone.fingerprint)
    return folder / "book.safetensors"


@pytest.fixture
def table(settings: Callable[..., RunConfig], book_file: Path, tmp_path: Path):
    """The run-config of a private run as Flower hands it over."""

    def make(**overrides) -> dict:
        base = {
            "dp": "cells",
            "dp_codebook": str(book_file),
            "out_dir": str(tmp_path / "runs"),
            "run_name": "run",
            "wait_seconds": 1.0,
            "rejoin_seconds": 0.0,
            "compare_local": False,
        }
        told = {**base, **overrides}
        if told["dp"] not in ("cells", "moments", "kernel"):
            told.pop("dp_codebook")
        return settings(**told).table()

    return make


@pytest.fixture
def nodes(sites_folder: Path, tmp_path: Path):
    return {
        at: {
            "site": name,
            "data": str(sites_folder / name),
            "ledger": str(tmp_path / "ledgers" / name),
            "out": str(tmp_path / "own" / name),
        }
        for at, name in enumerate(NAMES, start=11)
    }


@pytest.fixture
def run(table, nodes, tmp_path: Path):
    """Run the apps; returns (run folder, metrics, grid)."""

    def start(alter=lambda n, k, reply: reply, *, told=None, before=None, **overrides):
        config = table(**overrides)
        grid = FakeGrid(client_app, told or nodes, config, alter)
        if before:
            before(grid)
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
        folder = tmp_path / "runs" / config["run-name"]
        return folder, json.loads((folder / "metrics.json").read_text()), grid

    return start


@pytest.fixture
def ask(nodes, book_file: Path, tmp_path: Path):
    """One message to one site, its packet back."""

    def send(
        kind: str, config: dict, *, node=None, bank: MemoryBank | None = None, run: str = ""
    ) -> Packet:
        packet = Packet()
        if kind == "train" and RunConfig.parse(config, where="test").sums:
            packet = pack_codebooks({ANY: Codebook.load(book_file)[0]})
        elif bank is not None:
            packet = pack(bank)
        records = to_records(packet)
        records["texts"]["run-folder"] = str(tmp_path / "runs" / "run")
        identity = tmp_path / "runs" / "run" / ".identity"
        known = f"run-{identity.read_text()}" if identity.exists() else "run"
        records["texts"]["run"] = run or known
        records["texts"]["round"] = 1
        grid = FakeGrid(client_app, {1: node or nodes[11]}, config)
        message = Message(content=records, dst_node_id=1, message_type=kind)
        (reply,) = grid.pull_messages(grid.push_messages([message]))
        return from_records(reply.content)

    return send


@pytest.fixture
def bank(run, tmp_path: Path) -> MemoryBank:
    folder, _, _ = run(**LOUD)
    made = MemoryBank.load(folder / "bank.safetensors")
    shutil.rmtree(tmp_path / "ledgers")
    return made
