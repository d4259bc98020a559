"""What a server does not take in a private run, and what a site does not do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from client_app.app import app as client_app
from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import QuorumError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from tests.support.fakegrid import FakeGrid
from tests.support.private import LOUD, ledger, privacy
from tests.support.replies import spoiled

# -- what a server does not take ------------------------------------------------------


def sums(packet: Packet, **change: object) -> None:
    told = json.loads(packet.texts["sums"])
    told["plate"] |= change
    packet.texts["sums"] = json.dumps(told)


BAD_SUMS = {
    "shape": (lambda p: p.arrays.update(plate=np.ones((12, 6), np.int64)), "expected int64"),
    "fewer cells": (lambda p: p.arrays.update(plate=np.ones((11, 7), np.int64)), "expected int64"),
    "floats": (lambda p: p.arrays.update(plate=np.ones((12, 7))), "holds float64"),
    "no sum": (
        lambda p: p.arrays.update(plate=np.full((12, 7), np.iinfo(np.int64).min)),
        "no images can give",
    ),
    "codebook": (lambda p: sums(p, codebook="0" * 64), "over another codebook"),
    "sigma": (lambda p: sums(p, sigma=0.01), "says its noise is 0.01"),
    "sigma NaN": (lambda p: sums(p, sigma=math.nan), "says its noise is nan"),
    "no figures": (lambda p: p.texts.update(sums="{}"), "cannot be read"),
    "no JSON": (lambda p: p.texts.update(sums="{"), "cannot be read"),
    "no sections": (
        lambda p: (p.arrays.clear(), p.texts.update(sums="{}")),
        "noisy sums of no section",
    ),
    "no ledger": (lambda p: p.texts.pop("privacy"), "without a ledger's word"),
    "a ledger of lies": (
        lambda p: p.texts.update(privacy=p.texts["privacy"].replace('"spent":', '"spent":-')),
        "cannot be read",
    ),
    "the codebook of all": (
        lambda p: (
            p.arrays.update({"*": p.arrays.pop("plate")}),
            p.texts.update(sections=["*"], sums=p.texts["sums"].replace("plate", "*")),
        ),
        "a section named '*'",
    ),
}


@pytest.mark.parametrize("name", BAD_SUMS)
def test_bad_sums_are_rejected_by_name_and_the_round_goes_on(name: str, run) -> None:
    change, words = BAD_SUMS[name]
    folder, metrics, _ = run(spoiled(change), **LOUD)
    (record,) = metrics["rounds"]
    assert words in record["rejected"]["south"]
    assert set(record["train"]) == {"north", "west"}
    assert record["sections"]["plate"]["sites"] == ["north", "west"]
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")
    assert set(privacy(folder)["sites"]) == {"north", "west"}


def hostile_moments(packet: Packet) -> None:
    packet.arrays["plate"] = np.full((1, 28), 2**61, np.int64)


def test_a_hostile_site_is_left_out_of_moments(run) -> None:
    folder, metrics, _ = run(spoiled(hostile_moments), **LOUD, dp="moments")
    assert "no images can give" in metrics["rounds"][0]["rejected"]["south"]
    assert np.isfinite(MemoryBank.load(folder / "bank.safetensors").section("plate").metric).all()


def bare_rows(packet: Packet) -> None:
    """What a site that ignores the settings would send: features as they are."""
    width = 128
    rows = np.zeros((4, width), np.float32)
    rows[:, 0] = 1
    packet.arrays["plate"] = rows
    packet.texts.update(kind="full", fingerprint=bare_rows.fingerprint)
    packet.texts.pop("sums")
    packet.numbers.update(images=[3], patches=[40], rows=[4])


def test_rows_without_noise_are_refused_in_a_private_run(run, backbone) -> None:
    bare_rows.fingerprint = backbone.fingerprint.to_json()
    _, metrics, _ = run(spoiled(bare_rows), **LOUD)
    (record,) = metrics["rounds"]
    assert "south" in record["rejected"]
    assert set(record["train"]) == {"north", "west"}


def nothing(packet: Packet) -> None:
    packet.arrays.clear()
    packet.texts.update(kind="none")
    packet.texts.pop("sums")


def test_nothing_new_is_no_answer_in_a_private_run(run) -> None:
    _, metrics, _ = run(spoiled(nothing), **LOUD)
    assert "south" in metrics["rounds"][0]["rejected"]


# -- what a site does not do ----------------------------------------------------------


def test_a_site_that_requires_privacy_refuses_a_run_without(run, nodes, ask, table) -> None:
    nodes[12] |= {"dp-required": True, "dp-budget-epsilon": 100.0}
    folder, metrics, grid = run(dp="off")
    (record,) = metrics["rounds"]
    (reason,) = record["rejected"].values()
    assert "site 'south' sends nothing without differential privacy" in reason
    assert "-c dp=cells" in reason
    assert (12, "train") not in grid.sent
    assert MemoryBank.load(folder / "bank.safetensors").privacy == {"mechanism": "off"}
    shared = ask("train", table(dp_share_metrics=True), node=nodes[12]).texts["failure"]
    assert "run with -c dp-share-metrics=false" in shared
    assert "failure" not in ask("train", table(), node=nodes[12]).texts


def test_a_site_that_requires_privacy_answers_no_unprotected_evaluation(
    ask, table, nodes, bank: MemoryBank
) -> None:
    """A server need not call the roll before it asks for thresholds and counts."""
    node = {**nodes[11], "dp-required": True, "dp-budget-epsilon": 1.0}
    reply = ask("evaluate", table(dp="off"), node=node, bank=bank)
    assert "sends nothing without differential privacy" in reply.texts.get("failure", "")


def test_waves_that_the_run_did_not_announce_are_refused(ask, table, tmp_path: Path) -> None:
    reply = ask("train", table(dp="kernel", dp_waves=7))
    assert "waves, the run's dp-waves is 7" in reply.texts["failure"]
    assert not ledger(tmp_path).path.exists()


def test_a_folder_of_results_above_the_sites_own_is_refused(
    nodes, table, bank: MemoryBank, tmp_path: Path
) -> None:
    records = to_records(pack(bank))
    records["texts"]["run-folder"] = str(tmp_path / "runs" / "..")
    grid = FakeGrid(client_app, {1: nodes[11]}, table(dp="off", heatmaps=1))
    message = Message(content=records, dst_node_id=1, message_type="evaluate")
    (reply,) = grid.pull_messages(grid.push_messages([message]))
    assert "a folder of results that is none" in from_records(reply.content).texts["failure"]


def test_a_codebook_of_other_features_stops_the_run(run, backbone, book_file, tmp_path) -> None:
    book, fingerprint = Codebook.load(book_file)
    other = fingerprint.model_copy(update={"neighbourhood": 5})
    book.save(tmp_path / "other.safetensors", other)
    with pytest.raises(QuorumError, match="0 usable site"):
        run(dp_codebook=str(tmp_path / "other.safetensors"))
    lines = (tmp_path / "runs" / "run" / "events.jsonl").read_text().splitlines()
    refused = [e for e in map(json.loads, lines) if e["event"] == "rejected"]
    assert len(refused) == 3
    assert all("neighbourhood: 5 ≠ 3" in e["reason"] for e in refused)
