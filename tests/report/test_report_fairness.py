"""How evenly sites are served, on the page: a sentence first, then who and by how much."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.pages import page_of
from tests.support.runfolders import HOSTILE, make_private, make_run


def told(folder: Path, sites: dict[str, dict], products: tuple[str, ...] = ("tile",), **changes):
    """The section of a run whose sites have these figures of every product; its words."""
    run = make_run(folder, list(sites), products, **changes)
    metrics = json.loads((run / "metrics.json").read_text())
    for site, figures in sites.items():
        own = metrics["rounds"][-1]["evaluate"][site]["products"]
        for product in products:
            own[product] |= figures
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = page_of(run)
    words = page.words
    return page, words[words.index("Fairness", words.index("Configuration")) :]


def test_the_worst_served_site_is_told_first(tmp_path: Path) -> None:
    sites = {"a": {"image_auroc": 0.97}, "b": {"image_auroc": 0.72}, "c": {"image_auroc": 0.95}}
    _, words = told(tmp_path / "run", sites)
    assert words.startswith(
        "Fairness The worst served site is b : image AUROC 0.720 (0.62–0.80), while a has the "
        "best AUROC, 0.970 (0.92–0.99). This gap of 0.250 is more than chance"
    )
    line = words[words.index("worst served best served") :]
    assert "image AUROC b 0.720 (0.62–0.80) a 0.970 (0.92–0.99) ▲ 0.250 0.113 0.984 3" in line
    assert "missed defects all alike all alike 0% (chance) 0% 1.000 3" in line
    assert "every bank" in words and "local only" in words
    assert "by product" not in words[: words.index("Verdicts")]


def test_a_gap_of_few_images_is_within_chance(tmp_path: Path) -> None:
    few = {"good": 6, "defective": 6, "true_positives": 6, "false_negatives": 0}
    sites = {"a": few | {"image_auroc": 1.0}, "b": few | {"image_auroc": 0.8}}
    _, words = told(tmp_path / "run", sites, ("nut", "tile"))
    assert "This gap of 0.200 is within chance: one true value fits" in words
    assert "0.200 (chance)" in words and "▲ 0.200" not in words
    assert "by product" in words and "nut image AUROC b 0.800" in words


def test_sites_without_figures_are_named(tmp_path: Path) -> None:
    none = {"image_auroc": None, "threshold": None, "calibrated": 0, "local_image_auroc": None}
    page, words = told(tmp_path / "run", {"a": {}, "b": {}, HOSTILE: none})
    line = f"Not told: image AUROC, missed defects and false alarms of {HOSTILE}."
    assert line in words and "2 of 3" in words and page.named("script") == []


def test_a_lost_site_is_named_though_it_has_no_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a", "b", "lost"])
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["rounds"][-1]["evaluate"]["lost"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "missed defects and false alarms of lost." in page_of(run).words


def test_one_site_is_compared_with_nobody(tmp_path: Path) -> None:
    _, words = told(tmp_path / "run", {"a": {}})
    assert words.startswith("Fairness Fairness compares sites, and only a has figures.")
    assert "worst served best served" not in words


def test_a_private_run_says_what_is_withheld(tmp_path: Path) -> None:
    run = make_private(tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    for site in metrics["rounds"][-1]["evaluate"].values():
        site["products"]["tile"] |= {"calibrated": None, "threshold": None}
    (run / "metrics.json").write_text(json.dumps(metrics))
    words = page_of(run).words
    assert "Withheld: missed defects and false alarms of a, b." in words
    assert "missed defects withheld" in words and "The worst served site is" in words


def test_nothing_evaluated_has_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a"], record_changes={"evaluate": {}})
    assert "Fairness" not in page_of(run).words
