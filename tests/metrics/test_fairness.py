"""Jain's index, gap, worst site, chance: by hand, as properties, against another computation."""

from __future__ import annotations

import json
import math
from math import nan as NAN

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.areas import Area
from fedpatchcore.metrics.comparison import comparison_rows
from fedpatchcore.metrics.fairness import Fairness, fairness, fairness_told, jain, makers
from fedpatchcore.metrics.fairness_words import difference, index, served_words
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.server.runfolder import plain

VALUES = some.lists(some.floats(1e-6, 1e6), min_size=1, max_size=30)


def row(site: str, auroc: float | None = 0.9, product: str = "tile", **changes) -> dict:
    given = {"product": product, "site": site, "kind": "site", "good": 40, "defective": 20}
    return given | {"federated": auroc, "found": [15, 20], "stopped": [2, 40]} | changes


def one(rows: list[dict], bank: str = "federated", name: str = "image_auroc", made=None):
    return fairness(rows, made)[bank].all[name]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1, 1, 1], 1.0),
        ([5], 1.0),
        ([1, 0, 0, 0], 0.25),
        ([1, 2, 3], 36 / (3 * 14)),
        ([0.8, 0.9, 1.0], 7.29 / (3 * 2.45)),
        ([1e-200, 3e-200], 16 / 20),  # whose squares are 0
        ([1e200, 3e200], 16 / 20),
    ],
)
def test_jains_index_by_hand(values: list[float], expected: float) -> None:
    assert jain(values) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("values", [[], [1, -1], [1, NAN], [math.inf]])
def test_jains_index_of_no_allocation_is_an_error(values: list[float]) -> None:
    with pytest.raises(DataError, match=r"Jain's index is of"):
        jain(values)


def test_nothing_for_anybody_is_neither_fair_nor_unfair() -> None:
    assert math.isnan(jain([0, 0])) and index(jain([0, 0])) == "–"


@given(VALUES, some.floats(1e-6, 1e6), some.randoms())
def test_jains_index_knows_neither_scale_nor_order(values, scale, random) -> None:
    found = jain(values)
    assert 1 / len(values) * (1 - 1e-12) <= found <= 1
    assert jain([scale * x for x in values]) == pytest.approx(found, rel=1e-9)
    mixed = list(values)
    random.shuffle(mixed)
    assert jain(mixed) == pytest.approx(found, rel=1e-12)
    variation = np.std(values) / np.mean(values)
    assert found == pytest.approx(1 / (1 + variation**2), rel=1e-9)  # another way to compute it


@given(some.lists(some.floats(0.01, 1), min_size=2, max_size=9))
def test_moving_something_from_rich_to_poor_is_fairer(values) -> None:
    """Pigou and Dalton's principle, which Jain's index keeps."""
    low, high = int(np.argmin(values)), int(np.argmax(values))
    gift = (values[high] - values[low]) / 4
    given_ = list(values)
    given_[low] += gift
    given_[high] -= gift
    assert jain(given_) >= jain(values) - 1e-12


def test_figures_by_hand() -> None:
    rows = [row("a", 1.0), row("b", 0.7, found=[5, 20], stopped=[10, 40]), row("c", 0.9)]
    area = one(rows)
    assert (area.worst, area.best) == ("b", "a")
    assert area.gap == pytest.approx(0.3) and area.mean == pytest.approx(2.6 / 3)
    assert area.deviation == pytest.approx(np.std([1, 0.7, 0.9]))
    assert area.jain == pytest.approx(2.6**2 / (3 * 2.3))
    misses = one(rows, name="misses")
    assert (misses.worst, misses.gap) == ("b", pytest.approx(0.5))
    assert misses.mean == pytest.approx((0.25 + 0.75 + 0.25) / 3)
    assert misses.jain == pytest.approx(jain([0.75, 0.25, 0.75]))  # of what is found
    alarms = one(rows, name="false_alarms")
    assert (alarms.worst, alarms.gap) == ("b", pytest.approx(0.2))
    assert alarms.jain == pytest.approx(jain([0.95, 0.75, 0.95]))  # of what passes


def test_the_mean_row_is_no_site() -> None:
    assert set(one([row("a"), row("b"), row("mean") | {"kind": "mean"}]).served) == {"a", "b"}


def test_equal_sites_have_no_worst_one() -> None:
    rows = [row("a", 0.3, "x"), row("a", 0.1, "y"), row("b", 0.1, "x"), row("b", 0.3, "y")]
    area = one(rows)
    assert (area.gap, area.worst, area.best, area.deviation) == (0, None, None, 0)
    assert area.jain == pytest.approx(1) and area.within_chance is True
    told = str(served_words(fairness(rows)["federated"].all))
    assert told == "All 2 sites are served alike: image AUROC 0.200 at each."


@pytest.mark.parametrize("nothing", [None, NAN, -0.1, 1.5, "0.9", math.inf])
def test_a_site_without_a_figure_is_named_and_no_zero(nothing) -> None:
    rows = [row("a", 0.8), row("b", 0.9), row("c", nothing, found=None, stopped=[0, 0])]
    area = one(rows)
    assert area.missing == ("c",) and area.worst == "a" and area.mean == pytest.approx(0.85)
    told = served_words(fairness(rows)["federated"].all)
    assert told.missing == ("Not told: image AUROC, missed defects and false alarms of c.",)


def test_a_site_that_trained_and_was_not_evaluated_is_missing_too() -> None:
    metrics = {
        "rounds": [
            {
                "train": {s: {"sections": [{"section": "tile"}]} for s in ("a", "b", "lost")}
                | {"other": {"sections": [{"section": "shared"}, {}]}, "none": {}},
                "evaluate": {
                    s: {"products": {"tile": {"image_auroc": 0.9, "good": 4, "defective": 4}}}
                    for s in "ab"
                },
            }
        ]
    }
    assert makers(metrics) == {"tile": {"a", "b", "lost"}}
    rows = comparison_rows(metrics)
    assert one(rows, made=makers(metrics)).missing == ("lost",) and one(rows).missing == ()
    assert makers({}) == {} and fairness([]) == {}


def test_one_site_is_compared_with_nobody() -> None:
    rows = [row("a", 0.8)]
    area = one(rows)
    assert (area.gap, area.worst, area.within_chance, area.jain) == (0, None, None, 1)
    told = served_words(fairness(rows)["federated"].all)
    assert str(told) == "Fairness compares sites, and only a has figures."


def test_no_figures_at_all() -> None:
    rows = [row("a", None, found=None, stopped=None)]
    area = one(rows)
    assert area.missing == ("a",) and area.worst is None
    assert all(map(math.isnan, (area.gap, area.mean, area.jain, area.deviation)))
    assert "no two of them have a figure" in str(served_words(fairness(rows)["federated"].all))
    assert difference(area, area.gap) == "–"


def test_what_a_private_site_keeps_is_withheld_and_not_missing() -> None:
    kept = {"found": None, "stopped": None, "withheld": True}
    rows = [row("a", 0.9, **kept), row("b", 0.8, **kept)]
    found = fairness(rows)["federated"].all
    assert found["image_auroc"].worst == "b" and found["misses"].withheld == ("a", "b")
    assert found["misses"].missing == found["image_auroc"].withheld == ()
    words = served_words(found)
    assert words.missing == ("Withheld: missed defects and false alarms of a, b.",)
    told = plain(fairness_told(rows, {}))["federated"]["all"]["misses"]
    assert told["withheld"] == ["a", "b"] and told["jain"] is told["worst"] is None


def test_of_several_products_sites_have_means_and_sums() -> None:
    rows = [
        row("a", 0.9, "x", found=[1, 4]),
        row("a", 0.7, "y", found=[3, 4]),
        row("b", 0.6, "x", found=[4, 4]),
    ]
    found = fairness(rows)["federated"]
    assert found.all["image_auroc"].served["a"].share == pytest.approx(0.8)
    assert found.all["misses"].served["a"] == Rate(4, 8)
    assert found.all["misses"].unlike and "Not all make the same products" in str(
        served_words(found.all)
    )
    assert found.products["x"]["misses"].worst == "a" and not found.products["x"]["misses"].unlike
    assert list(found.products["y"]["misses"].served) == ["a"]


def test_other_banks_stand_beside_it_and_those_without_figures_do_not() -> None:
    own = {"local": {"found": [10, 20], "stopped": [4, 40]}}
    rows = [row("a", local=0.5, compared=own, hybrid=None), row("b", local=0.6, hybrid=NAN)]
    found = fairness(rows)
    assert list(found) == ["local", "federated"]
    assert found["local"].all["misses"].served == {"a": Rate(10, 20)}
    assert found["local"].all["misses"].missing == ("b",)
    assert found["local"].all["image_auroc"].worst == "a"
    hybrid = fairness([row("a", hybrid=0.9), row("b", hybrid=0.8)])["hybrid"].all
    assert list(hybrid) == ["image_auroc"]  # by both banks together no verdicts are counted


def test_few_images_explain_a_gap_and_many_do_not() -> None:
    few = [row("a", found=[8, 8]), row("b", found=[5, 8])]
    many = [row("a", found=[800, 800]), row("b", found=[500, 800])]
    assert one(few, name="misses").within_chance is True
    assert one(many, name="misses").within_chance is False
    few = [row("a", 0.99, good=8, defective=8), row("b", 0.8, good=8, defective=8)]
    many = [row("a", 0.99, good=200, defective=200), row("b", 0.8, good=200, defective=200)]
    assert "0.190 is within chance" in str(served_words(fairness(few)["federated"].all))
    assert "0.190 is more than chance" in str(served_words(fairness(many)["federated"].all))


@pytest.mark.parametrize("count", [2, 5, 20])
def test_equal_sites_are_seldom_said_to_differ(count: int) -> None:
    """At most one time in ten, however many sites there are, though one is always the worst."""
    rng = np.random.default_rng(0)
    draws = rng.binomial(30, 0.2, (400, count))
    wrong = sum(
        Fairness({str(at): Rate(int(n), 30) for at, n in enumerate(draw)}, False).within_chance
        is False
        for draw in draws
    )
    assert wrong / len(draws) <= 0.1


def test_a_run_tells_it_as_json() -> None:
    rows = [row("a", 0.9), row("b", 0.8), row("c", None)]
    told = plain(fairness_told(rows, {"tile": ["d"]}))
    json.dumps(told, allow_nan=False)
    area = told["federated"]["all"]["image_auroc"]
    assert area == told["federated"]["products"]["tile"]["image_auroc"]
    assert area["worst"]["site"] == "b" and area["missing"] == ["c", "d"] and area["sites"] == 2
    assert area["worst"]["low"] == pytest.approx(Area.of(0.8, 40, 20).interval[0])
    assert told["federated"]["all"]["misses"]["best"] is None
