"""ServerApp and ClientApp against each other: what a run leaves, what it holds, what stops it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

from client_app.app import app as client_app
from client_app.records import from_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.cli.live import run_view
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import Verdict
from fedpatchcore.runs.watch import RunView
from server_app.app import app as server_app
from server_app.strategy import FedPatchCore
from tests.support.fakegrid import FakeGrid
from tests.support.products import write_product
from tests.support.screens import screen


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
    assert (found["good"], found["defective"], found["calibrated"]) == (3, 3, 6)
    assert found["image_auroc"] > 0.9
    assert sum(found["coverage"]) == (3 + 6) * 15 * 15
    keys = {frozenset(p) for s in record["evaluate"].values() for p in s["products"].values()}
    assert len(keys) == 1  # the same figures at every site
    assert json.loads((folder / "config.json").read_text())["coreset-size"] == 30
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert (folder / "report.html").stat().st_size > 5_000


def test_who_follows_a_run_sees_the_verdicts_it_ends_with(run, monkeypatch) -> None:
    flower: list[dict] = []  # what Flower's own summary tells of each round
    plain = FedPatchCore.aggregate_evaluate

    def watched(*given):
        flower.append(dict(plain(*given)))

    monkeypatch.setattr(FedPatchCore, "aggregate_evaluate", watched)
    folder, _, _ = run()
    view = RunView()
    for line in (folder / "events.jsonl").read_text().splitlines():
        view.take(json.loads(line))
    assert {row["product"] for row in view.rows} == {"plate", "ring"}
    for name, site in view.sites.items():
        rows = [r for r in view.rows if (r["kind"], r["site"]) == ("site", name) and r["found"]]
        found, stopped = (
            [sum(c) for c in zip(*(r[n] for r in rows), strict=True)] for n in ("found", "stopped")
        )
        assert site.verdict.found == Rate(*found) and site.verdict.stopped == Rate(*stopped)
    every = sum((site.verdict for site in view.sites.values()), Verdict())
    shares = (every.found.share, every.stopped.share)
    assert [list(told) for told in flower] == [["defects-found", "good-stopped", "image-auroc"]]
    assert (flower[0]["defects-found"], flower[0]["good-stopped"]) == shares
    assert every.found.of == 12 and every.found.count > 0  # three sites, one with a second product
    shown = screen(run_view(view), 100)
    assert all(f" {site.verdict.found.counts} " in shown for site in view.sites.values())


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
