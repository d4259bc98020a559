"""ServerApp and ClientApp against each other, with every kind of bad site in between."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.serverapp import ServerApp
from PIL import Image
from torchvision.models import squeezenet1_1

from client_app.app import app as client_app
from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, QuorumError, RunError
from fedpatchcore.wire.packet import Packet
from server_app.app import app as server_app
from server_app.grid import StreamingGrid
from tests.conftest import write_product
from tests.support.fakegrid import FakeGrid


@pytest.fixture
def run(tmp_path: Path, sites_folder: Path, settings: Callable[..., RunConfig]):
    """Run the apps over the three sites' folders; returns (run folder, metrics, grid)."""

    def start(alter=lambda n, k, reply: reply, *, nodes=None, before=None, **overrides):
        config = settings(
            out_dir=str(tmp_path / "runs"), run_name="run", wait_seconds=1.0, **overrides
        ).table()
        told = nodes or {
            at: {"site": name, "data": str(sites_folder / name)}
            for at, name in enumerate(("north", "south", "west"), start=11)
        }
        grid = FakeGrid(client_app, told, config, alter)
        if before:
            before(grid)
        context = Context(1, 0, {}, RecordDict(), config)
        app: ServerApp = server_app
        app(grid, context)
        folder = tmp_path / "runs" / "run"
        return folder, json.loads((folder / "metrics.json").read_text()), grid

    return start


def test_a_run_leaves_everything_it_promises(run, sites_folder: Path) -> None:
    folder, metrics, _ = run(heatmaps=1)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"}
    assert bank.sites == ("north", "south", "west")
    assert set(bank.thresholds["plate"]) == {"north", "south", "west"}
    assert set(bank.thresholds["ring"]) == {"west"}  # made at one site only
    assert len(bank.section("plate")) == 60
    (record,) = metrics["rounds"]
    assert set(record["train"]) == set(record["evaluate"]) == {"north", "south", "west"}
    assert record["memory"]["merge"] > 10**7  # bytes of this process
    assert record["train"]["west"]["bytes"] == 2 * 30 * bank.fingerprint.dimension * 4
    found = record["evaluate"]["north"]["products"]["plate"]
    assert (found["good"], found["defective"], found["held_out"]) == (3, 3, 1)
    assert found["image_auroc"] > 0.9
    assert sum(found["coverage"]) == (3 + 1) * 15 * 15
    keys = {frozenset(p) for s in record["evaluate"].values() for p in s["products"].values()}
    assert len(keys) == 1  # the same figures at every site
    assert json.loads((folder / "config.json").read_text())["coreset-size"] == 30
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert (folder / "report.html").stat().st_size > 5_000


def test_no_image_leaves_a_site(run, sites_folder: Path) -> None:
    """Nothing in any reply is as large as an image or names a file."""
    seen = []

    def alter(node, kind, reply):
        packet = from_records(reply.content)
        seen.append((kind, packet))
        return reply

    run(alter)
    assert {kind for kind, _ in seen} == {"query", "train", "evaluate"}
    for kind, packet in seen:
        text = json.dumps([packet.texts, packet.numbers], default=str)
        assert ".png" not in text
        assert str(sites_folder) not in text
        assert all(a.shape[1] == 128 for a in packet.arrays.values())  # features, not pixels
        assert not packet.arrays or kind == "train"


def spoiled(change: Callable[[Packet], object], *, kind: str = "train", node: int = 12):
    """Alter the packet of one node's reply."""

    def alter(at: int, what: str, reply: Message) -> Message:
        if (at, what) != (node, kind):
            return reply
        packet = from_records(reply.content)
        change(packet)
        reply.content.clear()
        for key, record in to_records(packet).items():
            reply.content[key] = record
        return reply

    return alter


def first(packet: Packet) -> str:
    return next(iter(packet.arrays))


BAD_REPLIES = {
    "NaN": (lambda p: p.arrays[first(p)].__setitem__((3, 2), np.nan), "NaN or infinite"),
    "infinite": (lambda p: p.arrays[first(p)].__setitem__((0, 0), np.inf), "NaN or infinite"),
    "dimension": (lambda p: p.arrays.update({first(p): np.ones((30, 7), np.float32)}), "shape"),
    "dtype": (lambda p: p.arrays.update({first(p): np.ones((30, 128))}), "float64"),
    "zero rows": (lambda p: p.arrays.update({first(p): np.ones((0, 128), np.float32)}), "rows"),
    "vector": (lambda p: p.arrays.update({first(p): np.ones(128, np.float32)}), "shape"),
    "a billion images": (lambda p: p.numbers.update(images=[10**9]), "not possible"),
    "a billion rows": (lambda p: p.numbers.update(rows=[10**9]), "claims 1,000,000,000 rows"),
    "radius": (lambda p: p.numbers.update(radius=[float("nan")]), "radius"),
    "unknown section": (lambda p: p.arrays.update({"x": np.ones((1, 128), np.float32)}), "'x'"),
    "missing figures": (lambda p: p.numbers.pop("patches"), "cannot be read"),
    "another site's name": (lambda p: p.texts.update(site="north"), "calls itself 'north'"),
    "kind": (lambda p: p.texts.update(kind="all"), "cannot be read"),
    "fingerprint": (
        lambda p: p.texts.update(fingerprint=p.texts["fingerprint"].replace("unit", "none")),
        "layer_norm: unit ≠ none",
    ),
    "no fingerprint": (lambda p: p.texts.update(fingerprint="{"), "not a fingerprint"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_is_rejected_by_name_and_the_round_goes_on(name: str, run) -> None:
    change, words = BAD_REPLIES[name]
    folder, metrics, _ = run(spoiled(change))
    record = metrics["rounds"][0]
    assert words in record["rejected"]["south"]
    assert set(record["train"]) == {"north", "west"}
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")
    assert "south" in (folder / "report.html").read_text()


def test_an_array_that_claims_more_than_it_carries_is_refused_before_it_is_allocated() -> None:
    honest = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        honest, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 768)}
    )
    lying = Array("float32", (3, 768), "numpy.ndarray", honest.getvalue() + b"\0" * 64)
    records = to_records(Packet())
    records["arrays"] = ArrayRecord({"plate": lying})
    with pytest.raises(CoresetError, match="claims the shape"):
        from_records(records)
    cut = Array(np.ones((30, 8), np.float32))
    cut.data = cut.data[:-5]
    records["arrays"] = ArrayRecord({"plate": cut})
    with pytest.raises(CoresetError, match="cut short"):
        from_records(records)
    with pytest.raises(CoresetError, match="does not hold"):
        from_records(RecordDict())


@pytest.mark.parametrize("rows", [0, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_reply_can_be_read_without_copying_it(rows: int, order: str) -> None:
    sent = np.asarray(np.random.default_rng(0).normal(size=(rows, 7)), np.float32, order=order)
    records = to_records(Packet({"plate": sent}))
    view = from_records(records, copy=False).arrays["plate"]
    np.testing.assert_array_equal(view, sent)
    assert view.dtype == sent.dtype
    assert not view.flags.writeable
    if rows:
        assert np.shares_memory(view, np.frombuffer(records["arrays"]["plate"].data, np.uint8))
    from_records(records).arrays["plate"][:] = 1  # a copy is the receiver's own
    np.testing.assert_array_equal(view, sent)


@pytest.mark.parametrize(
    ("fault", "where", "words"),
    [
        (Error(2, "<class 'ValueError'>:<'boom'>"), "rejected", "raised an error"),
        (Error(8, "died"), "lost", "process died"),
        (Error(5, ""), "lost", "offline"),
        (None, "lost", "no reply within round-timeout"),
    ],
)
def test_a_dead_or_silent_site_is_named_and_the_round_goes_on(fault, where, words, run) -> None:
    def alter(node, kind, reply):
        return fault if (node, kind) == (12, "train") else reply

    _, metrics, _ = run(alter, round_timeout=2.0)
    record = metrics["rounds"][0]
    assert words in record[where]["south"]
    assert set(record["train"]) == {"north", "west"}


def test_without_quorum_the_run_stops_and_says_who_and_why(run, tmp_path: Path) -> None:
    def alter(node, kind, reply):
        return Error(8, "") if kind == "train" and node != 11 else reply

    with pytest.raises(QuorumError, match=r"1 usable.*min-sites is 2.*south: .*died.*west"):
        run(alter)
    events = (tmp_path / "runs" / "run" / "events.jsonl").read_text()
    assert '"failed"' in events


def test_waiting_for_nodes_ends_with_advice(run) -> None:
    with pytest.raises(QuorumError, match=r"1 of 2 sites online after 1 s: start the missing"):
        run(before=lambda grid: grid.online.intersection_update({11}))


def test_two_nodes_with_one_name_are_both_refused(run, sites_folder: Path) -> None:
    nodes = {
        1: {"site": "north", "data": str(sites_folder / "north")},
        2: {"site": "north", "data": str(sites_folder / "south")},
        3: {"site": "west", "data": str(sites_folder / "west")},
        4: {"site": "south", "data": str(sites_folder / "south")},
    }
    _, metrics, grid = run(nodes=nodes)
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"south", "west"}
    assert len(record["rejected"]) == 2
    assert all("call themselves 'north'" in why for why in record["rejected"].values())
    assert (1, "train") not in grid.sent


def test_a_site_with_other_weights_is_refused_at_the_roll_call(
    run, sites_folder: Path, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(99)
        torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "other.pth")
    nodes = {
        at: {"site": name, "data": str(sites_folder / name)}
        for at, name in enumerate(("north", "south", "west"), start=11)
    }
    nodes[13]["weights"] = str(tmp_path / "other.pth")
    folder, metrics, grid = run(nodes=nodes)
    (reason,) = metrics["rounds"][0]["rejected"].values()
    assert "site 'west'" in reason
    assert "weights_sha256" in reason
    assert (13, "train") not in grid.sent
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.texts.update(fingerprint="{}"), "not a fingerprint"),
        (lambda p: p.texts.pop("products"), "cannot be read"),
        (lambda p: p.numbers.pop("simulated"), "cannot be read"),
    ],
)
def test_a_bad_answer_to_the_roll_call_does_not_stop_the_others(change, words: str, run) -> None:
    _, metrics, grid = run(spoiled(change, kind="query"))
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"north", "west"}
    assert words in " ".join(record["rejected"].values())
    assert (12, "train") not in grid.sent


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.numbers.pop("image_auroc"), "cannot be read"),
        (lambda p: p.numbers.update(roc=[0.5] * 7), "'roc' holds 7 values"),
        (lambda p: p.numbers.update(image_auroc=[7.5]), "'image_auroc' of product 'plate' is 7.5"),
        (lambda p: p.numbers.update(true_positives=[-1]), "'true_positives'"),
        (lambda p: p.numbers.update(coverage=[1] * 9), "another bank"),
        (lambda p: p.texts.update(site="west"), "calls itself 'west'"),
    ],
)
def test_bad_metrics_cost_the_metrics_of_that_site_only(change, words: str, run) -> None:
    folder, metrics, _ = run(spoiled(change, kind="evaluate"))
    record = metrics["rounds"][0]
    assert set(record["evaluate"]) == {"north", "west"}
    assert words in record["rejected"]["south"]
    assert "south" in MemoryBank.load(folder / "bank.safetensors").sites


def test_sites_that_disagree_evenly_are_all_refused() -> None:
    from fedpatchcore.server.rollcall import call_roll
    from fedpatchcore.wire.messages import SiteFacts
    from tests.bank.test_bank import FINGERPRINT

    other = FINGERPRINT.model_copy(update={"weights_sha256": "cd" * 32})

    def facts(name: str, fingerprint) -> SiteFacts:
        return SiteFacts(name, ("p",), (1,), (0,), "cpu", fingerprint.to_json(), "0")

    tie = {"1": facts("a", FINGERPRINT), "2": facts("b", other)}
    refused, agreed = call_roll(tie, None)
    assert agreed is None
    assert set(refused) == {"1", "2"}
    assert "no side has a majority (weights_sha256: abababababab ≠ cdcdcdcdcdcd)" in refused["1"]
    refused, agreed = call_roll({**tie, "3": facts("c", other)}, None)
    assert agreed == other
    assert set(refused) == {"1"}
    refused, _ = call_roll(tie, FINGERPRINT)  # a bank decides
    assert set(refused) == {"2"}


def test_a_site_refuses_a_bank_of_other_features(run) -> None:
    """The mismatch is refused on the site's side too, and the site says so."""

    def before(grid: FakeGrid) -> None:
        deliver = grid._deliver

        def tampered(message):
            if message.metadata.message_type == "evaluate":
                texts = message.content["texts"]
                texts["bank"] = texts["bank"].replace('"neighbourhood": 3', '"neighbourhood": 5')
            return deliver(message)

        grid._deliver = tampered

    _, metrics, _ = run(before=before)
    record = metrics["rounds"][0]
    assert record["evaluate"] == {}
    assert "neighbourhood: 3 ≠ 5" in record["rejected"]["north"]


BAD_FOLDERS = {
    "missing": (lambda p: None, "no such folder"),
    "empty": (lambda p: p.mkdir(), "empty"),
    "all corrupt": (lambda p: corrupt(write_product(p / "plate"), share=1.0), "unreadable"),
    "text named png": (
        lambda p: [
            (q.parent.mkdir(parents=True, exist_ok=True), q.write_text("hello"))
            for q in [p / "plate" / "train" / "good" / "a.png"]
        ],
        "unreadable",
    ),
}


def corrupt(product: Path, *, share: float) -> None:
    files = sorted((product / "train" / "good").iterdir())
    for path in files[: max(1, round(share * len(files)))]:
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_told_plainly_and_the_others_go_on(
    name: str, run, sites_folder: Path, tmp_path: Path
) -> None:
    make, words = BAD_FOLDERS[name]
    make(tmp_path / "bad")
    nodes = {
        1: {"site": "north", "data": str(sites_folder / "north")},
        2: {"site": "south", "data": str(sites_folder / "south")},
        3: {"site": "bad", "data": str(tmp_path / "bad")},
    }
    _, metrics, _ = run(nodes=nodes)
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"north", "south"}
    told = " ".join(record["rejected"].values())
    assert words in told
    assert str(tmp_path / "bad") in told


def test_one_corrupt_image_among_good_ones_is_skipped_and_counted(run, sites_folder: Path) -> None:
    write_product(sites_folder / "north" / "plate", train=20)
    victim = sites_folder / "north" / "plate" / "train" / "good" / "003.png"
    Image.open(sites_folder / "north/plate/train/good/004.png").convert("L").save(
        sites_folder / "north/plate/train/good/004.png"
    )  # grey among RGB
    victim.write_bytes(victim.read_bytes()[:100])
    _, metrics, _ = run(holdout=0.0)
    (section,) = metrics["rounds"][0]["train"]["north"]["sections"]
    assert (section["bad"], section["images"]) == (1, 19)


def south_offline_in_round_two():
    """Node 12 answers in every round but the second."""
    rounds = {"train": 0}

    def alter(node, kind, reply):
        if node == 11 and kind == "train":
            rounds["train"] += 1
        return Error(5, "") if node == 12 and rounds["train"] == 2 else reply

    return alter


def test_a_site_that_was_absent_keeps_its_place_and_returns(run) -> None:
    """Absent in round 2: its rows stay. Back in round 3: it has nothing new to say."""
    folder, metrics, _ = run(south_offline_in_round_two(), num_rounds=3)
    _, two, three = metrics["rounds"]
    assert two["absent"] == ["south"]
    assert "offline" in two["lost"]["south"]
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "south", "west")
    assert three["train"]["south"]["kind"] == "none"
    assert three["absent"] == []


def test_absent_sites_can_be_let_go(run) -> None:
    folder, _, _ = run(south_offline_in_round_two(), num_rounds=2, keep_absent_sites=False)
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")


def absent_in_round_two(back: Callable[[FakeGrid], set[int]]) -> Callable[[FakeGrid], None]:
    """Node 12 is offline in round 2; from round 3 on the nodes that ``back`` names are there."""

    def before(grid: FakeGrid) -> None:
        def ids() -> list[int]:
            done = [kind for node, kind in grid.sent if node == 11].count("evaluate")
            if done and not grid._replies:
                grid.online = {11, 13} if done == 1 else back(grid)
            return sorted(grid.online)

        grid.get_node_ids = ids

    return before


def test_a_node_that_comes_back_under_another_name_does_not_count_twice(run) -> None:
    def back(grid: FakeGrid) -> set[int]:
        grid.nodes[12] = {**grid.nodes[12], "site": "another"}
        return {11, 12, 13}

    folder, metrics, _ = run(before=absent_in_round_two(back), num_rounds=3)
    why = metrics["rounds"][2]["rejected"]["south"]
    assert "the node of site 'south' now calls itself 'another'" in why
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "south", "west")


@pytest.mark.parametrize("robust", [True, False])
def test_where_sites_vote_nobody_takes_the_name_of_an_absent_one(run, robust: bool) -> None:
    def back(grid: FakeGrid) -> set[int]:
        grid.nodes[14] = {**grid.nodes[12]}
        return {11, 13, 14}

    told = {"robustness_enabled": robust, "tolerated_sites": 0} if robust else {}
    _, metrics, grid = run(before=absent_in_round_two(back), num_rounds=3, **told)
    why = " ".join(metrics["rounds"][2]["rejected"].values())
    assert ("another node was site 'south' before" in why) == robust
    assert ((14, "train") in grid.sent) == (not robust)


def test_a_late_site_joins_with_what_the_bank_lacks(run) -> None:
    def before(grid: FakeGrid) -> None:
        grid.online.discard(13)
        send = grid.push_messages

        def push(messages):
            if [k for _, k in grid.sent].count("evaluate") == 2:
                grid.online.add(13)
            return send(messages)

        grid.push_messages = push

    folder, metrics, _ = run(before=before, num_rounds=3)
    assert set(metrics["rounds"][0]["train"]) == {"north", "south"}
    last = metrics["rounds"][2]["train"]
    assert set(last) == {"north", "south", "west"}
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate", "ring"}


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_a_site_that_died_and_came_back_is_asked_again(kind: str, run) -> None:
    """Its SuperNode went away with the message and returns two polls later."""
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    grids: list[FakeGrid] = []
    polls = {"left": 0}

    def alter(node, what, reply):
        if node == 12 and what == kind and not polls["left"]:
            polls["left"] = 3
            grids[0].online.discard(12)
            return Error(5, "node unavailable")
        return reply

    def watch(grid: FakeGrid) -> None:
        grids.append(grid)
        plain = grid.get_node_ids

        def nodes():
            if polls["left"] > 1:
                polls["left"] -= 1
            elif polls["left"] == 1:
                grid.online.add(12)
            return plain()

        grid.get_node_ids = nodes

    folder, metrics, grid = run(alter, before=watch)
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["lost"] == {}
    assert grid.sent.count((12, kind)) == 2
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] in ("gone", "back", "lost")][-2:] == [
        "gone",
        "back",
    ]


def test_a_site_that_answers_twice_is_counted_once(run) -> None:
    """The reply that was thought lost arrives as well as the one to the second asking."""
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    late: list[Message] = []

    def alter(node, kind, reply):
        if node == 12 and kind == "train" and not late:
            late.append(reply)
            return Error(5, "node unavailable")
        return reply

    def both(grid: FakeGrid) -> None:
        plain = grid.pull_messages

        def pull(ids):
            found = plain(ids)
            return found + late if found and grid.sent.count((12, "train")) == 2 else found

        grid.pull_messages = pull

    folder, metrics, _ = run(alter, before=both)
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["rejected"] == {}


def test_a_superlink_that_stumbles_does_not_cost_the_run(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of 500 for a while are waited out; for good, they end the run with a clear line."""
    monkeypatch.setattr("server_app.grid.PAUSE_SECONDS", 0.01)
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    answer = httpx.Response(500, request=httpx.Request("POST", "https://superlink/pull"))
    left = {"errors": 7}

    def stumble(grid: FakeGrid) -> None:
        plain = grid.pull_messages

        def pull(ids):
            if left["errors"]:
                left["errors"] -= 1
                answer.raise_for_status()
            return plain(ids)

        grid.pull_messages = pull

    folder, metrics, _ = run(before=stumble)
    assert left["errors"] == 0
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["lost"] == {}
    left["errors"] = 10**9
    monkeypatch.setattr("server_app.grid.PATIENCE_SECONDS", 0.2)
    with pytest.raises(RunError, match="the SuperLink has answered 500"):
        run(before=stumble)


def test_a_site_that_stays_away_is_lost_after_rejoin_seconds(run) -> None:
    def alter(node, what, reply):
        if node == 12 and what == "train":
            grids[0].online.discard(12)
            return Error(5, "node unavailable")
        return reply

    grids: list[FakeGrid] = []
    folder, metrics, _ = run(alter, before=grids.append, rejoin_seconds=1.5)
    assert "offline" in metrics["rounds"][0]["lost"]["south"]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    told = [e["event"] for e in events if e.get("site") == "south"]
    assert told[:3] == ["site", "gone", "lost"]


def test_a_run_resumes_after_the_last_complete_round(run, tmp_path: Path) -> None:
    whole, _, _ = run(num_rounds=2)
    expected = (whole / "bank.safetensors").read_bytes()
    (whole).rename(tmp_path / "whole")
    folder, _, _ = run(num_rounds=1)
    again, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert again == folder
    assert [r["round"] for r in metrics["rounds"]] == [1, 2]
    assert (folder / "bank.safetensors").read_bytes() == expected


def test_resume_says_what_is_missing(run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to resume"):
        run(resume=str(tmp_path / "nowhere"))
    folder, _, _ = run()
    with pytest.raises(ConfigError, match="aggregation='federated_coreset'"):
        run(num_rounds=2, resume=str(folder), aggregation="simple_concatenate")


@pytest.mark.parametrize("data", ["data", "nowhere"])
def test_the_pooled_baseline_never_costs_the_results(data: str, run, tmp_path: Path) -> None:
    """Divided over three virtual sites; the server may not see the images at the end."""
    write_product(tmp_path / "data" / "plate", train=12, good=6, bad=6)
    nodes = {at: {"partition-id": at - 1, "num-partitions": 3} for at in (1, 2, 3)}
    config = {"data": str(tmp_path / "data"), "partition": "iid", "compare_pooled": True}

    def hide(grid: FakeGrid) -> None:
        if data == "nowhere":
            deliver = grid._deliver

            def last(message):
                done = deliver(message)
                if len(grid.sent) == 9:  # three sites: query, train, evaluate
                    (tmp_path / "data").rename(tmp_path / "gone")
                return done

            grid._deliver = last

    folder, metrics, _ = run(nodes=nodes, before=hide, **config)
    assert (folder / "report.html").is_file()
    assert set(metrics["rounds"][0]["evaluate"]) == {"site-0", "site-1", "site-2"}
    if data == "data":
        assert set(metrics["pooled"]) == {"site-0", "site-1", "site-2"}
    else:
        assert metrics["pooled"] is None


def test_an_out_dir_that_cannot_be_written_is_told_first(
    sites_folder: Path, tmp_path: Path, settings
) -> None:
    (tmp_path / "file").write_text("")
    config = settings(out_dir=str(tmp_path / "file")).table()
    grid = FakeGrid(client_app, {1: {"site": "a", "data": "x"}}, config)
    with pytest.raises(RunError, match="cannot write results.*set out-dir"):
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
    assert grid.sent == []  # nothing was asked of any site


def test_a_typo_in_run_config_stops_the_run_with_the_key(tmp_path: Path, settings) -> None:
    config = settings().table() | {"glboal-bank-size": 5}
    with pytest.raises(ConfigError, match="'glboal-bank-size' .did you mean 'global-bank-size'"):
        server_app(FakeGrid(client_app, {}, config), Context(1, 0, {}, RecordDict(), config))


def test_stream_yields_replies_one_at_a_time_and_reports_silence(settings) -> None:
    class Slow(FakeGrid):
        def __init__(self):
            super().__init__(client_app, {1: {}, 2: {}, 3: {}}, settings().table())
            self.pulled = []

        def pull_messages(self, ids):
            (only,) = ids
            self.pulled.append(only)
            return super().pull_messages(ids) if only != "2" else []

    grid = StreamingGrid(Slow(), poll=0.01)
    content = to_records(Packet())
    messages = [Message(content=content, dst_node_id=n, message_type="query") for n in (1, 2, 3)]
    stream = grid.send_and_receive(messages, timeout=0.2)
    reply = next(stream)
    assert grid.grid.pulled == ["1"]  # the second was not touched yet
    assert grid.node_of(reply) == 1
    assert len(list(stream)) == 1
    assert grid.unanswered == [2]


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """The server's disk takes so many coresets and then no more; returns what it was asked."""
    from fedpatchcore.bank import contribution

    real, asked = contribution.write_atomically, []

    def write(path: Path, content, **told) -> None:
        asked.append(path.name)
        if len(asked) > after:
            raise OSError(28, "No space left on device")
        real(path, content, **told)

    monkeypatch.setattr(contribution, "write_atomically", write)
    return asked


def test_a_full_disk_in_the_first_round_ends_the_run_and_says_what_to_do(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, after=1)
    with pytest.raises(
        RunError, match=r"cannot keep the coreset of site 'south' \(.* MB\) .*No space.*resume="
    ):
        run()
    folder = tmp_path / "runs" / "run"
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "failed"
    assert "'south'" in last["reason"]
    assert len(list((folder / "coresets").iterdir())) == 1  # whole files only
    monkeypatch.undo()
    again, metrics, _ = run(resume=str(folder))
    assert set(metrics["rounds"][0]["train"]) == {"north", "south", "west"}
    assert MemoryBank.load(again / "bank.safetensors").round == 1


def test_a_full_disk_later_keeps_the_last_checkpoint(
    run, sites_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new image in round 2 makes a delta that the disk does not take."""
    asked = full_disk(monkeypatch, after=3)

    def grows(node: int, kind: str, reply: Message) -> Message:
        if (node, kind) == (13, "evaluate"):
            write_product(sites_folder / "north" / "plate", train=14, seed=77_000)
        return reply

    with pytest.raises(RunError, match="cannot keep the coreset of site 'north'"):
        run(grows, num_rounds=2)
    folder = tmp_path / "runs" / "run"
    assert len(asked) == 4
    assert [p.name for p in (folder / "rounds").iterdir()] == ["0001"]
    assert MemoryBank.load(folder / "bank.safetensors").round == 1
    monkeypatch.undo()
    _, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert [r["round"] for r in metrics["rounds"]] == [1, 2]
    assert metrics["rounds"][1]["train"]["north"]["kind"] == "delta"


def test_a_checkpoint_writes_no_coreset_a_second_time(run) -> None:
    folder, _, _ = run()
    kept = {p.stat().st_ino for p in (folder / "coresets").iterdir()}
    saved = {p.stat().st_ino for p in (folder / "rounds" / "0001" / "coresets").iterdir()}
    assert kept == saved
    assert len(kept) == 3


def test_a_run_folder_without_kept_coresets_is_resumed_all_the_same(run, tmp_path: Path) -> None:
    """As earlier versions left it, or a disk that knows no links: the checkpoint is enough."""
    whole, _, _ = run(num_rounds=2)
    expected = (whole / "bank.safetensors").read_bytes()
    whole.rename(tmp_path / "whole")
    folder, _, _ = run(num_rounds=1)
    for path in (folder / "coresets").iterdir():
        path.unlink()
    (folder / "coresets").rmdir()
    again, _, _ = run(num_rounds=2, resume=str(folder))
    assert (again / "bank.safetensors").read_bytes() == expected
    assert len(list((again / "coresets").iterdir())) == 3


def test_what_an_interrupted_round_left_is_not_taken_for_a_coreset(run, tmp_path: Path) -> None:
    folder, _, _ = run(num_rounds=1)
    (folder / "coresets" / "stale.safetensors").write_bytes(b"half a file")
    (folder / "coresets" / ".stale.safetensors.77.part").write_bytes(b"half")
    again, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert len(list((again / "coresets").iterdir())) == 3
    assert set(metrics["rounds"][1]["train"]) == {"north", "south", "west"}


def test_a_bank_that_does_not_fit_is_merged_in_a_tree_and_says_so(run) -> None:
    from fedpatchcore.coreset.memory import exact_memory, least_memory

    tight = (least_memory(10, 128) + 100) / 1e9
    folder, metrics, _ = run(global_bank_size=10, coreset_size=200, server_memory_gb=tight)
    facts = metrics["rounds"][0]["sections"]["plate"]
    tree = facts["tree"]
    assert tree["exact_memory_bytes"] == exact_memory(600, 10, 128)
    assert facts["rows"] == 10
    assert 1 <= tree["factor"] <= tree["factor_worst"] == 2 * tree["depth"]
    assert facts["radius"] <= tree["radius_proved"] * (1 + 1e-6)
    report = (folder / "report.html").read_text()
    assert "merged in a tree" in report
    assert f"×{tree['factor']:.3g}" in report


@pytest.mark.parametrize("name", ["coordinate_median", "federated_coreset"])
def test_too_little_memory_ends_the_run_with_the_setting_to_raise(name: str, run) -> None:
    with pytest.raises(ConfigError, match=r"GB of memory and .* allowed: raise server-memory-gb"):
        run(aggregation=name, min_sites=3, server_memory_gb=1e-6)


def test_replies_are_let_go_of_one_by_one(run) -> None:
    """No reply that was answered for is still in memory when the next one is pulled."""
    import gc
    import weakref

    seen: list[weakref.ref] = []
    alive: list[int] = []

    def alter(node: int, kind: str, reply: Message) -> Message:
        return reply

    def watch(grid: FakeGrid) -> None:
        plain = grid.pull_messages

        def pull(ids):
            gc.collect()
            alive.append(sum(ref() is not None for ref in seen))
            found = plain(ids)
            seen.extend(weakref.ref(m) for m in found if m.metadata.message_type == "train")
            return found

        grid.pull_messages = pull

    run(alter, before=watch)
    assert len(seen) == 3
    assert max(alive) == 0


def test_the_bank_is_encoded_once_for_all_messages(run) -> None:
    """All messages of a phase, and those after the thresholds are known, share one array."""
    sent: dict[str, set[int]] = {"train": set(), "evaluate": set()}
    keep = []

    def before(grid: FakeGrid) -> None:
        deliver = grid._deliver

        def watched(message):
            if message.metadata.message_type != "query":
                arrays = message.content["arrays"]
                keep.append(arrays)  # so that no id is used again
                if len(arrays):
                    sent[message.metadata.message_type].add(id(arrays))
            return deliver(message)

        grid._deliver = watched

    run(before=before, num_rounds=2, global_bank_size=40)
    assert len(sent["evaluate"]) == 1  # of the first round: the second has the same bank
    assert not sent["train"]  # and every site holds it already


@pytest.mark.parametrize(
    ("kind", "record", "key", "value"),
    [
        ("query", "texts", "products", [1, 2]),
        ("train", "numbers", "represented", [float("nan")]),
        ("train", "numbers", "memory", [1, 2, 3, 2**60]),
        ("evaluate", "texts", "products", [7]),
        ("evaluate", "numbers", "held_out", [0.5]),
    ],
)
def test_one_malformed_reply_costs_that_site_alone(run, kind, record, key, value) -> None:
    def alter(node: int, asked: str, reply: Message) -> Message:
        here = asked == kind and reply.has_content() and key in reply.content[record]
        if here and reply.content["texts"]["site"] == "south":
            reply.content[record][key] = value
        return reply

    folder, metrics, _ = run(alter=alter, products="plate")
    told = metrics["rounds"][0]
    assert set(told["train"]) >= {"north", "west"}
    assert "south" in " ".join([*told["rejected"], *map(str, told["notes"])]) or kind == "query"
    assert (folder / "report.html").exists()
