"""Figures that add up under masks, through both real apps: totals, and no site's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flwr.common.logger import FLOWER_LOGGER

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.cli.images import show_partition
from fedpatchcore.cli.reports import print_table
from fedpatchcore.cli.thresholds import without_threshold
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.counts import write_statistics
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.comparison import comparison_rows
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.virtual import virtual_sites
from tests.support.names import NAMES
from tests.support.secure import with_rosters

# of each site, told to six places and alike at no two
PLANTED = ("threshold", "local_threshold", "histogram_top", "pixel_auroc", "local_pixel_auroc")
FIGURES = {"dp": "off", "secure_figures": True, "min_sites": 3}


@pytest.fixture
def members(nodes, tmp_path: Path):
    return with_rosters(nodes, tmp_path / "pki")


@pytest.fixture
def both(run, members):
    """The same run with figures site by site, and under masks."""
    told = {}
    for name, words in (("open", {"dp": "off", "min_sites": 3}), ("masked", FIGURES)):
        told[name] = run(told=members, run_name=name, compare_local=True, **words)
    return told


def products(metrics: dict) -> list[dict]:
    """All sites' results of the product that all make, of an open run."""
    return [t["products"]["plate"] for t in metrics["rounds"][-1]["evaluate"].values()]


def test_totals_are_those_of_the_sites_figures(both) -> None:
    _, opened, _ = both["open"]
    _, metrics, grid = both["masked"]
    own = products(opened)
    record = metrics["rounds"][-1]
    assert record["figures"]["sites"] == list(NAMES)
    told = record["figures"]["products"]["plate"]
    for name in ("good", "defective", "true_positives", "false_positives", "true_negatives"):
        assert told[name] == sum(one[name] for one in own) and type(told[name]) is int
    assert told["tested"] == told["decided"] == 3
    for name in ("image_auroc", "pixel_auroc", "aupro", "local_image_auroc"):
        mean = np.mean([one[name] for one in own])
        assert told["means"][name] == {"mean": pytest.approx(mean, abs=1e-9), "sites": 3}
    assert told["auroc_off"] >= 0 and 0 <= told["auroc"] <= 1
    assert sum(told["histogram"]["good"]) == told["good"]
    assert [kind for _, kind in grid.sent].count("train.sums") == 5 * 3
    rows = {n: comparison_rows(both[n][1]) for n in both}
    (mean,) = [r for r in rows["masked"] if r["product"] == "plate"]
    (plain,) = [r for r in rows["open"] if r["product"] == "plate" and r["kind"] == "mean"]
    for key in ("found", "stopped", "good", "defective", "sites", "kind"):
        assert mean[key] == plain[key], key
    for key in ("federated", "local", "federated_pixel"):
        assert mean[key] == pytest.approx(plain[key], abs=1e-9)
    told, plain = (both[n][1]["verdicts"]["plate"] for n in ("masked", "open"))
    assert {k: told[k] for k in ("sites", "defects_found", "good_stopped")} == {
        k: plain[k] for k in ("sites", "defects_found", "good_stopped")
    }


def test_the_bank_is_the_same_and_its_thresholds_stay_at_the_sites(both, tmp_path: Path) -> None:
    one, other = (MemoryBank.load(both[n][0] / "bank.safetensors") for n in ("open", "masked"))
    assert one.arrays().keys() == other.arrays().keys()
    assert all(np.array_equal(a, other.arrays()[k]) for k, a in one.arrays().items())
    assert set(one.thresholds["plate"]) == set(NAMES)
    assert not other.thresholds and not other.calibration
    assert one.privacy == {"mechanism": "off"}
    assert other.privacy == {"mechanism": "off", "secure_figures": True}
    assert "private.json" not in without_threshold(one, "ring")
    told = without_threshold(other, "plate")
    assert "in a secure-figures run each site keeps its own" in told
    assert "at a site of that run the one in its private.json" in told and "--local" not in told
    for name in NAMES:
        own = json.loads((tmp_path / "own" / name / "masked" / "private.json").read_text())
        assert own["plate"]["threshold"] == one.thresholds["plate"][name]


def test_no_sites_figure_is_in_any_file_or_message(run, members) -> None:
    """Of a site's reply nothing is left but which products it judged."""
    seen = []

    def alter(node, kind, reply):
        if kind == "evaluate":
            numbers = {k: list(v) for k, v in reply.content["numbers"].items()}
            seen.append((numbers, dict(reply.content["texts"])))
        if kind == "query":
            assert not any(reply.content["numbers"]["test_images"])
        return reply

    folder, metrics, _ = run(alter, told=members, **FIGURES)
    assert len(seen) == 3
    for numbers, texts in seen:
        assert texts["products"] in (["plate"], ["plate", "ring"])
        for name, values in numbers.items():
            quiet = {0.0, 1.0} if name in ("promised_fpr", "fpr_high") else {0.0}
            assert all(v != v or v in quiet for v in values), name
    record = metrics["rounds"][-1]
    for told in record["evaluate"].values():
        assert told["products"] == {} and told["seconds"] is None
    rows = comparison_rows(metrics)
    assert {row["kind"] for row in rows} == {"mean"}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "evaluated":
            assert event["images"] == 0 and not event["image_auroc"].get("plate")
            assert event["defects_found"] == {} == event["good_stopped"]
        if event["event"] == "finished":
            assert {row["kind"] for row in event["rows"]} == {"mean"}


def test_a_product_of_too_few_sites_is_not_added_up(run, members) -> None:
    """``ring`` is west's alone: its total would be west's figures."""
    _, metrics, _ = run(told=members, **FIGURES)
    record = metrics["rounds"][-1]
    assert set(record["figures"]["products"]) == {"plate"}
    assert any("figures of ring stay at its sites: fewer than 3" in n for n in record["notes"])


def test_a_server_that_asks_for_a_lonely_products_figures_is_refused(
    run, members, monkeypatch
) -> None:
    """Sites sign what they add to: each of them sees that the total would be one site's."""
    monkeypatch.setattr("fedpatchcore.server.secure_figures.least_makers", lambda colluding: 1)
    _, metrics, _ = run(told=members, **FIGURES)
    record = metrics["rounds"][-1]
    assert "stays closed" in record["figures_sum"]["closed"]
    assert record["figures"] == {"sites": [], "products": {}}
    for name in NAMES:
        reason = record["figures_sum"]["left"][name]
        assert "only 1 of the 3 sites of this sum add to 'ring'" in reason
    assert any("secure sum of figures stays closed" in note for note in record["notes"])


def test_a_site_that_leaves_takes_a_product_below_the_least(run, members) -> None:
    """North drops before its vector: two are left of three, one of them may be in league."""

    def alter(node, kind, reply):
        texts = reply.content.get("texts") or {}
        gone = node == 11 and kind == "train.sums" and texts.get("exchange") == "masked"
        return None if gone else reply

    words = {**FIGURES, "min_openers": 2, "colluding_sites": 0, "round_timeout": 1.0}
    _, metrics, _ = run(alter, told=members, **words)
    record = metrics["rounds"][-1]
    assert record["figures"]["sites"] == ["south", "west"]  # two honest ones are enough
    assert record["figures"]["products"]["plate"]["tested"] == 2


def test_two_rounds_and_private_sums_beside(run, members) -> None:
    """With differential privacy figures that training images shape are in no total."""
    words = {"dp_epsilon": 60.0, "dp_budget_epsilon": 60.0, "dp_alone_epsilon": 300.0}
    _, metrics, grid = run(
        told=members, num_rounds=2, secure_sums=True, secure_figures=True, min_sites=3, **words
    )
    for record in metrics["rounds"]:
        told = record["figures"]["products"]["plate"]
        assert told["decided"] == 0 and told["true_positives"] == 0
        assert told["tested"] == 3 and 0 <= told["auroc"] <= 1
        assert record["secure_sum"]["opened"] == record["figures_sum"]["opened"] == list(NAMES)
    assert [kind for _, kind in grid.sent].count("train.sums") == 2 * 2 * 5 * 3
    assert metrics["verdicts"]["plate"]["defects_found"]["of"] == 0


def test_a_simulation_shows_totals_alone(run, sites_folder: Path, capsys, monkeypatch) -> None:
    """Virtual sites write beside the server and log into its log: none of their figures, nor a
    picture, is anywhere but in their own folders."""
    logged: list[str] = []
    monkeypatch.setattr(FLOWER_LOGGER, "handle", lambda one: logged.append(one.getMessage()))
    virtual = {at: {"partition-id": at, "num-partitions": 3} for at in range(3)}
    words = {**FIGURES, "data": str(sites_folder), "heatmaps": 2, "compare_local": True}
    folder, _, _ = run(told=virtual, planted_trials=30, **words)
    own = {at: json.loads((folder / "sites" / at / "private.json").read_text()) for at in NAMES}
    digits = {f"{own[at]['plate'][key]:.9f}"[:7] for at in NAMES for key in PLANTED}
    assert len(digits) > 12
    print_table(folder)
    texts = {"log": "\n".join(logged), "console": capsys.readouterr().out}
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts
        if file.is_file() and inside[0] != "sites":
            assert file.suffix not in (".png", ".jpg"), file
            texts["/".join(inside)] = file.read_bytes().decode(errors="replace")
    assert {"report.html", "metrics.json", "events.jsonl", "bank.safetensors"} <= set(texts)
    assert "data:image" not in texts["report.html"]
    assert "under sites/&lt;site&gt;/heatmaps in this run" in texts["report.html"]
    assert "no figure or picture of one site" in texts["report.html"]
    assert "all sites / plate" in texts["log"] and "threshold" not in texts["log"]
    for where, text in texts.items():
        found = {one for one in digits if re.search(rf"(?<![0-9.]){re.escape(one)}", text)}
        assert not found, (where, found)
    for name in NAMES:  # which they have
        assert list((folder / "sites" / name / "heatmaps").glob("*.png"))
        assert own[name]["plate"]["planted_pictures"]
    assert not (folder / "heatmaps").exists()


def test_what_is_said_before_a_simulation_counts_no_test_images(
    sites_folder: Path, tmp_path: Path, capsys
) -> None:
    config = RunConfig(data=str(sites_folder))
    parts = virtual_sites(config, 0)
    for tests in (True, False):
        show_partition(parts, tests=tests)
        write_statistics(parts, tmp_path / "parts.csv", tests=tests)
        texts = (capsys.readouterr().out, (tmp_path / "parts.csv").read_text())
        assert all(("test" in text) == tests and "train" in text for text in texts)


def test_what_the_report_and_the_exporter_show(both) -> None:
    folder, metrics, _ = both["masked"]
    page = " ".join((folder / "report.html").read_text().split())
    assert "All sites together" in page and "no site's own" in page
    told = metrics["rounds"][-1]["figures"]["products"]["plate"]
    found = told["defects_found"]
    assert f"{found['count']} of {found['of']}" in page
    assert "Fairness</h2>" not in page and "no site held out normal images" not in page
    events = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    (summed,) = [e for e in events if e["event"] == "summed"]
    assert summed["about"] == "figures"
    assert summed["defects_found"] == {"plate": [found["count"], found["of"]]}


def test_library_calls_add_up_as_the_apps_do(members, table) -> None:
    config = RunConfig.parse(table(**FIGURES), where="test")
    sites = [open_site(config, NodeConfig.from_node(node, {})) for node in members.values()]
    federation = federate(sites, federation=Federation(config))
    (record,) = federation.history
    assert record["figures"]["products"]["plate"]["tested"] == 3
    assert record["figures_sum"]["opened"] == list(NAMES)
    assert not federation.bank.thresholds


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"selection": "adaptive", "sites_per_round": 3}, "selection chooses by them"),
        ({"weighted_by_samples": True}, "weighted-by-samples counts each site's images"),
        ({"compare_pooled": True}, "compare-pooled measures site by site"),
        ({"min_sites": 2}, "takes 3 sites: raise min-sites"),
        ({"min_openers": 5}, "takes 5 sites: raise min-sites"),
    ],
)
def test_what_needs_a_sites_own_figures_is_refused_by_name(table, words, said) -> None:
    with pytest.raises(ValueError, match=said):
        table(**{**FIGURES, **words})
