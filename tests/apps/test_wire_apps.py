"""Every wire through the real apps: two rounds, lost banks, resumed runs, hostile replies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from PIL import ImageOps

from client_app.app import app as client_app
from client_app.records import from_records, to_records
from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.inprocess import federate
from fedpatchcore.site.setup import open_site
from fedpatchcore.wire.delta import digest
from fedpatchcore.wire.packet import Packet
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.names import LOSSY, NAMES
from tests.support.products import picture

SIZES = {"coreset_size": 140, "global_bank_size": 200, "compare_local": False}


class Recorder(FakeGrid):
    """Keeps what the server sends: (node, kind, packet)."""

    def _deliver(self, message):
        kind = message.metadata.message_type
        self.messages.append((message.metadata.dst_node_id, kind, from_records(message.content)))
        return super()._deliver(message)


@pytest.fixture
def run(tmp_path: Path, sites_folder: Path, settings: Callable[..., RunConfig]):
    """Run the apps over the three sites' folders; returns (run folder, metrics, messages)."""

    def start(alter=lambda n, k, reply: reply, **overrides):
        told = {"run_name": "run", "wait_seconds": 1.0, **SIZES, **overrides}
        config = settings(out_dir=str(tmp_path / "runs"), **told).table()
        nodes = {
            at: {"site": name, "data": str(sites_folder / name)}
            for at, name in enumerate(NAMES, start=11)
        }
        grid = Recorder(client_app, nodes, config, alter)
        grid.messages = []
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
        folder = tmp_path / "runs" / "run"
        return folder, json.loads((folder / "metrics.json").read_text()), grid.messages

    return start


@pytest.fixture
def growing(sites_folder: Path):
    """After the last evaluation of round 1, south finds four new images in its folder."""
    answered = []

    def alter(node, kind, reply):
        answered.append(kind)
        if kind == "evaluate" and answered.count(kind) == len(NAMES):
            for at in range(4):
                path = sites_folder / "south" / "plate" / "train" / "good" / f"new{at}.png"
                ImageOps.invert(picture(70_000 + at).rotate(90)).save(path)
        return reply

    return alter


def of(messages, kind: str, number: int) -> list[Packet]:
    return [p for _, what, p in messages if what == kind and p.texts["round"] == number]


@pytest.mark.parametrize("wire", ["float32", *LOSSY])
def test_two_rounds_through_the_apps(wire: str, run, growing) -> None:
    folder, metrics, messages = run(growing, wire=wire, num_rounds=2)
    first, second = metrics["rounds"]
    bank = MemoryBank.load(folder / "bank.safetensors")
    plain = bank.fingerprint.dimension * 4
    assert all(set(r["train"]) == set(r["evaluate"]) == set(NAMES) for r in (first, second))
    for train in first["train"].values():
        rows = sum(s["rows"] for s in train["sections"])
        assert train["bytes"] == rows * plain
        if wire == "float32":
            assert train["wire_bytes"] == train["bytes"]
            assert not any(train["wire_errors"].values())
        else:
            assert train["wire_bytes"] < train["bytes"] / (1.8 if wire == "float16" else 3)
            assert all(0 < error < 1 for error in train["wire_errors"].values())
    assert second["train"]["south"]["kind"] == "delta"
    assert second["train"]["north"]["kind"] == "none"
    # round 1: nobody holds anything; round 2: the bank is known, then it changes a little
    down = [r["wire"]["down"] for r in (first, second)]
    whole = down[0]["evaluate"]["south"]
    assert set(down[0]["train"].values()) == {0}
    assert down[1]["train"] == dict.fromkeys(
        NAMES,
        len(of(messages, "train", 2)[0].texts["bank"])
        + len(of(messages, "train", 2)[0].texts["wire"]),
    )
    assert not any(p.arrays for p in of(messages, "train", 2))
    assert 0 < down[1]["evaluate"]["south"] < 0.75 * whole
    assert json.loads(of(messages, "evaluate", 2)[0].texts["wire"])["base"]
    assert second["wire"]["kind"] == wire
    errors = second["wire"]["errors"]
    assert not errors if wire == "float32" else set(errors) == {"plate", "ring"}
    # what the sites judged is what the file holds
    assert set(bank.thresholds["plate"]) == set(NAMES)
    page = (folder / "report.html").read_text()
    assert "on the wire" in page
    trained = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    told = [e for e in trained if e["event"] == "trained"]
    assert [e["wire_bytes"] for e in told[:3]] == [
        first["train"][e["site"]]["wire_bytes"] for e in told[:3]
    ]
    assert told[-1]["down_bytes"] == down[1]["train"]["south"]


@pytest.mark.parametrize("wire", ["int8", "pq"])
def test_the_bank_over_the_network_is_the_bank_in_one_process(
    wire: str, run, settings, sites_folder: Path, private_home: Path
) -> None:
    folder, _, _ = run(wire=wire)
    config = settings(wire=wire, **SIZES)
    sites = [
        open_site(config, NodeConfig(site=name, data=str(sites_folder / name))) for name in NAMES
    ]
    here = federate(sites).bank
    assert here.to_bytes() == (folder / "bank.safetensors").read_bytes()


@pytest.mark.parametrize("wire", ["int8", "pq"])
def test_radii_are_honest_about_what_sites_see(wire: str, run, settings, sites_folder) -> None:
    """Every training patch lies within r + R of the bank that was sent, both as stated."""
    folder, metrics, _ = run(wire=wire)
    bank = MemoryBank.load(folder / "bank.safetensors").sections["plate"]
    for path in (folder / "rounds" / "0001" / "coresets").glob("*.safetensors"):
        given = Contribution.load(path)
        sent = given.parts["plate"]
        site = open_site(
            settings(wire=wire, **SIZES),
            NodeConfig(site=given.site, data=str(sites_folder / given.site)),
        )
        images = site.training_images("plate").used
        patches, _, _ = site.extractor.all(images)
        patches = patches.dense()
        patches = patches.reshape(-1, patches.shape[-1]).astype(np.float64)

        def reach(rows: np.ndarray, patches=patches) -> float:
            squared = (patches**2).sum(1)[:, None] - 2 * patches @ rows.T + (rows**2).sum(1)
            return float(np.sqrt(squared.min(1).max().clip(0)))

        rows = sent.features.astype(np.float64)
        assert reach(rows) <= sent.radius + 1e-5
        (stats,) = (
            s
            for s in metrics["rounds"][0]["train"][given.site]["sections"]
            if s["section"] == "plate"
        )
        error = metrics["rounds"][0]["train"][given.site]["wire_errors"]["plate"]
        assert sent.radius == pytest.approx(stats["radius"] + error)
        assert reach(bank.features.astype(np.float64)) <= sent.radius + bank.radius + 1e-5


@pytest.mark.parametrize("wire", ["int8"])
def test_a_site_that_lost_its_bank_gets_all_of_it_in_the_same_phase(
    wire: str, run, growing, private_home: Path
) -> None:
    asked = []

    def alter(node, kind, reply):
        asked.append((node, kind, "failure" in from_records(reply.content).texts))
        if (node, kind) == (12, "evaluate"):
            shutil.rmtree(private_home / "sites" / "south")  # the disk was cleaned up
        return growing(node, kind, reply)

    folder, metrics, messages = run(alter, wire=wire, num_rounds=2)
    second = metrics["rounds"][1]
    assert not second["rejected"]
    assert not second["lost"]
    assert set(second["train"]) == set(second["evaluate"]) == set(NAMES)
    train = [(n, bool(p.arrays)) for n, k, p in messages if k == "train" and p.texts["round"] == 2]
    assert train == [(11, False), (12, False), (13, False), (12, True)]
    assert [a for a in asked if a[2]] == [(12, "train", True)]
    down = second["wire"]["down"]["train"]
    assert down["south"] > 20_000 > down["north"]
    events = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    (resent,) = [e for e in events if e["event"] == "resent"]
    assert (resent["site"], resent["round"]) == ("south", 2)


def test_a_site_that_always_asks_for_more_is_refused_after_the_second_time(run) -> None:
    def alter(node, kind, reply):
        if (node, kind) == (12, "train"):
            records = to_records(
                Packet(texts={"site": "south", "failure": "no", "needs": "full bank"})
            )
            reply.content.clear()
            reply.content.update(records)
        return reply

    _, metrics, messages = run(alter, num_rounds=2)
    assert [r["rejected"] for r in metrics["rounds"]] == [{"south": "no"}] * 2
    assert [n for n, k, p in messages if k == "train" and p.texts["round"] == 2].count(12) == 2


def test_a_site_without_a_cache_always_gets_the_whole_bank(run) -> None:
    _, metrics, messages = run(wire="int8", num_rounds=2, cache_gb=0.0)
    assert all(p.arrays for p in of(messages, "train", 2))
    assert all(set(r["train"]) == set(NAMES) for r in metrics["rounds"])
    assert not any(r["rejected"] for r in metrics["rounds"])


def test_a_resumed_run_asks_what_sites_hold(run, growing) -> None:
    wire = "int8"
    folder, _, _ = run(wire=wire, num_rounds=2)
    before = MemoryBank.load(folder / "bank.safetensors")
    _, metrics, messages = run(growing, wire=wire, num_rounds=3, resume=str(folder))
    assert len(metrics["rounds"]) == 3
    assert not any(p.arrays for p in of(messages, "train", 3))
    assert json.loads(of(messages, "train", 3)[0].texts["wire"])["digest"] == digest(
        before.sections
    )
    assert set(metrics["rounds"][2]["evaluate"]) == set(NAMES)


def test_a_run_goes_on_from_an_exact_bank_with_another_wire(run, growing) -> None:
    folder, _, _ = run(num_rounds=1)
    old = MemoryBank.load(folder / "bank.safetensors")
    _, metrics, messages = run(growing, wire="float16", num_rounds=2, resume=str(folder))
    (first, *_) = of(messages, "train", 2)
    told = json.loads(first.texts["wire"])
    assert told["sections"][0]["pieces"] == [None]  # the old rows go exact
    assert np.array_equal(first.arrays["0.0"], old.sections["plate"].features)
    assert [r["wire"]["kind"] for r in metrics["rounds"]] == ["float32", "float16"]
    assert set(metrics["rounds"][1]["evaluate"]) == set(NAMES)


HOSTILE = {
    "cut": (lambda p: p.arrays.update(plate=p.arrays["plate"][:-3]), "cut short"),
    "a million rows": (lambda p: told(p, rows=10**6), "claim"),
    "raw bytes": (lambda p: p.texts.pop("wire"), "uint8"),
}


def told(packet: Packet, **changes) -> None:
    ways = json.loads(packet.texts["wire"])
    ways["plate"] |= changes
    packet.texts["wire"] = json.dumps(ways)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_encoded_reply_that_lies_is_rejected_by_name_and_the_round_goes_on(name, run) -> None:
    change, words = HOSTILE[name]

    def alter(node, kind, reply):
        if (node, kind) == (12, "train"):
            packet = from_records(reply.content)
            change(packet)
            records = to_records(packet)
            reply.content.clear()
            reply.content.update(records)
        return reply

    _, metrics, _ = run(alter, wire="int8")
    record = metrics["rounds"][0]
    assert words in record["rejected"]["south"]
    assert set(record["train"]) == {"north", "west"}


@pytest.mark.parametrize("dp", ["cells", "per-vector"])
def test_private_releases_travel_exact_or_not_at_all(dp: str) -> None:
    with pytest.raises(ConfigError, match="wire='int8' takes dp='off'"):
        RunConfig.parse({"dp": dp, "wire": "int8"}, where="run-config")
