"""Verdicts first: what an inspector asks stands above every AUROC, or is said to be withheld."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fedpatchcore.metrics.rates import Rate
from tests.support.pages import Page, page_of
from tests.support.runfolders import HOSTILE, make_private, make_run

FOLDS = {"calibrated": 24, "groups": 24, "folds": 5, "promised_fpr": 0.05, "fpr_high": 0.14}
KINDS = {"scratch": (8, 20), "dent": (26, 20 + 6)}
ALONE = {"local_threshold": 0.7, "local_true_positives": 30, "local_false_positives": 9}


def page(folder: Path, *, sites: tuple[str, ...] = ("a", "b"), only: dict | None = None, **changes):
    """A run of one product whose sites have these figures; ``only``: those of one site."""
    run = make_run(folder, list(sites), changes=FOLDS | changes)
    if only:
        metrics = json.loads((run / "metrics.json").read_text())
        told = metrics["rounds"][-1]["evaluate"]
        for site, figures in only.items():
            told[site]["products"]["tile"] |= figures
        (run / "metrics.json").write_text(json.dumps(metrics))
    return page_of(run)


def marked(shown: Page) -> list[str]:
    return [text for text in shown.text if re.match("▲ ", text)]


def test_the_first_figures_are_what_a_plant_asks(tmp_path: Path) -> None:
    words = page(tmp_path / "run").words
    first = words[words.index("FedPatchCore report") : words.index("mean image AUROC")]
    assert "68 of 80 defects found 85%, 90% interval 77%–91%" in first
    assert "6 of 80 good parts stopped 7.5%, 90% interval 3.3%–14%" in first
    told = "5.0% promised false alarms true share by site: 0%–14%, asked for were 5.0%"
    assert told in first and "Worth knowing" not in words
    section = words[words.index("Verdicts at the threshold") :]
    assert "Defects found: 68 of 80 (85%, 77%–91%) ; good parts stopped: 6 of 80" in section
    assert section.index("missed defects") < section.index("image AUROC")


def test_a_site_without_a_threshold_does_not_count_and_is_named(tmp_path: Path) -> None:
    none = {"threshold": None, "calibrated": 0, "promised_fpr": 1.0, "true_positives": 0}
    words = page(tmp_path / "run", only={"b": none}).words
    assert "34 of 40 defects found" in words and "over 1 site." in words
    assert "site b , tile: no threshold, and so no verdict" in words
    assert "a 24 images, 5 folds 0.6 5.0% (0%–14%) 3 of 40 (7.5%, 2.1%–18%) 6 of 40" in words
    assert "b – – – – –" in words


def test_a_promise_above_the_target_says_how_many_images_it_takes(tmp_path: Path) -> None:
    few = {"calibrated": 12, "groups": 12, "promised_fpr": 1 / 13, "fpr_high": 0.2}
    shown = page(tmp_path / "run", only={"b": few})
    told = "site b , tile: 12 images, 5 folds, which cannot promise fewer than 7.7% false alarms"
    assert f"{told}: target-fpr asks for 5.0%, and that takes 19 images" in shown.words
    assert shown.words.index("Worth knowing") < shown.words.index(told)
    assert marked(shown) == ["▲ 7.7% (0%–20%)"]
    assert "5.0%–7.7% promised false alarms true share by site: 0%–20%" in shown.words


def test_the_target_is_that_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a"], changes=FOLDS, settings={"target_fpr": 0.02})
    assert "target-fpr asks for 2.0%, and that takes 49 images" in page_of(run).words


@pytest.mark.parametrize(("stopped", "over"), [(9, False), (10, True)])
def test_more_false_alarms_than_the_promise_allows_are_marked(
    tmp_path: Path, stopped: int, over: bool
) -> None:
    """Nine of 40 may still be 13%, which lies below the 14% of the promise."""
    rate = Rate(stopped, 40)
    assert (rate.interval[0] > 0.14) is over
    counts = {"false_positives": stopped, "true_negatives": 40 - stopped}
    assert marked(page(tmp_path / "run", only={"b": counts})) == [f"▲ {rate}"] * over


def test_new_groups_have_a_column_where_images_belong_together(tmp_path: Path) -> None:
    lots = {"groups": 6, "new_group_fpr": 0.31}
    shown = page(tmp_path / "run", only={"b": lots})
    assert "new group" in shown.words and marked(shown) == ["▲ 31%"]
    assert "24 images in 6 groups, 5 folds" in shown.words
    assert "there are 6 groups, and it takes 19 to promise it" in shown.words
    fine = page(tmp_path / "fine", only={"b": lots | {"new_group_fpr": 0.03}})
    assert "3.0%" in fine.words and not marked(fine) and "Worth knowing" not in fine.words
    assert "new group" not in page(tmp_path / "none").words


def test_kinds_of_defect_are_told_the_worst_first(tmp_path: Path) -> None:
    kinds = KINDS | {HOSTILE: (1, 1)}
    shown = page(tmp_path / "run", kinds=kinds)
    kind = shown.words[shown.words.index("By kind of defect") :]
    assert kind.index("scratch 16 of 40 (40%, 27%–54%)") < kind.index("dent 52 of 52")
    assert f"{HOSTILE} 2 of 2" in kind and shown.named("script") == []
    assert "kinds of defect by site site kind of defect found a scratch 8 of 20" in kind
    one = page(tmp_path / "one", sites=("a",), kinds=kinds).words
    assert "By kind of defect" in one and "kinds of defect by site" not in one
    assert "By kind of defect" not in page(tmp_path / "none").words


def test_the_sites_own_bank_stands_beside_it(tmp_path: Path) -> None:
    words = page(tmp_path / "run", **ALONE).words
    own = words[words.index("The same, by the site's own bank alone") :]
    assert (
        "a 10 of 40 (25%, 14%–39%) 6 of 40 (15%, 6.7%–27%) "
        "9 of 40 (22%, 12%–36%) 3 of 40 (7.5%, 2.1%–18%)"
    ) in own
    assert "all sites 20 of 80" in own
    assert "own bank alone" not in page(tmp_path / "none").words


BOTH = {"hybrid_threshold": 0.55139, "hybrid_image_auroc": 0.934}
TOGETHER = "By the site's own bank and the federated one together (hybrid)"


def test_the_threshold_of_both_banks_is_shown_where_it_is_told(tmp_path: Path) -> None:
    none = {"hybrid_threshold": None, "hybrid_image_auroc": None}
    words = page(tmp_path / "run", only={"b": none}, **BOTH).words
    both = words[words.index(TOGETHER) : words.index("Alone, federated, hybrid")]
    assert "image AUROC hybrid a 0.5514 0.934 b – –" in both and "on L2 distances" in both
    assert "counts no verdicts by it" in both and "withheld" not in both
    assert words.index("Verdicts at the threshold") < words.index(TOGETHER)
    assert TOGETHER not in page(tmp_path / "none", only={"a": none}).words
    sites = tuple(f"plant-{at:02d}" for at in range(20))
    many = page(tmp_path / "many", sites=sites, **BOTH).words
    assert "all 20 sites site threshold" in many[many.index(TOGETHER) :]


@pytest.mark.parametrize("compared", [False, True])
def test_the_threshold_of_both_banks_stays_at_the_sites_of_a_private_run(
    tmp_path: Path, compared: bool
) -> None:
    run = make_private(tmp_path / "run", settings={"compare_local": compared})
    words = page_of(run).words
    assert (TOGETHER in words) is ("as hybrid_threshold in private.json" in words) is compared
    shared = make_private(tmp_path / "shared", settings={"dp_share_metrics": True})
    metrics = json.loads((shared / "metrics.json").read_text())
    for told in metrics["rounds"][-1]["evaluate"].values():
        told["products"]["tile"] |= BOTH
    (shared / "metrics.json").write_text(json.dumps(metrics))
    words = page_of(shared).words
    both = words[words.index(TOGETHER) : words.index("Alone, federated, hybrid")]
    assert "a 0.5514 0.934 b 0.5514 0.934" in both and "on one scale" in both


def test_of_many_sites_the_worst_are_shown_and_the_sum(tmp_path: Path) -> None:
    sites = tuple(f"plant-{at:02d}" for at in range(20))
    worst = {"plant-17": {"true_positives": 4, "false_negatives": 36}}
    words = page(tmp_path / "run", sites=sites, only=worst, **ALONE).words
    verdicts = words[words.index("Verdicts at the threshold") :]
    assert verdicts.index("plant-17") < verdicts.index("5 sites with the most errors")
    own = verdicts[verdicts.index("own bank alone") :]
    assert (
        own.index("all sites 200 of 800") < own.index("all 20 sites site") < own.index("plant-00")
    )


@pytest.mark.parametrize("share", [False, True])
def test_what_a_private_run_withholds_is_said_in_the_first_figures(
    tmp_path: Path, share: bool
) -> None:
    words = page_of(make_private(tmp_path / "run", settings={"dp_share_metrics": share})).words
    first = words[words.index("FedPatchCore report") : words.index("mean image AUROC")]
    names = ("defects found", "good parts stopped", "promised false alarms")
    for name in names:
        assert (f"withheld {name} each site has its own in its private.json" in first) is not share
    assert not re.search(r"\bnan\b|\bNone\b", words)
    assert ("no threshold could be set" in first) is share
    assert ("no threshold, and so no verdict" in words) is share
    assert "By kind of defect" not in words


def test_products_are_compared_by_verdicts_at_a_glance(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a", "b"], ("nut", "tile"), changes=FOLDS)
    words = page_of(run).words
    assert "nut 2 68 of 80 (77%–91%) 6 of 80 (3.3%–14%)" in words
    assert "all products 136 of 160 (80%–89%) 12 of 160" in words
