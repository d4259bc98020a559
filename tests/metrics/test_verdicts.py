"""Verdicts, promises and rates of few images, by hand and against an independent computation."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.metrics.compared import compared_told, judged_by, together
from fedpatchcore.metrics.comparison import comparison_rows
from fedpatchcore.metrics.promises import Promise, needed, range_of
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import Verdict, alone, total, verdict, verdicts_told
from fedpatchcore.wire.messages import ProductResult

FIGURES = {
    "good": 40,
    "defective": 20,
    "calibrated": 24,
    "groups": 24,
    "folds": 5,
    "threshold": 0.5,
    "promised_fpr": 0.05,
    "fpr_low": 0.0,
    "fpr_high": 0.14,
    "true_positives": 15,
    "false_negatives": 5,
    "false_positives": 3,
    "true_negatives": 37,
    "kinds": {"scratch": (6, 10), "dent": (9, 10)},
    "local_threshold": 0.6,
    "local_true_positives": 12,
    "local_false_positives": 4,
}


def result(**changes) -> dict:
    """As a site's record holds it."""
    return asdict(ProductResult("tile", **(FIGURES | changes)))


def record(**sites: dict) -> dict:
    return {"evaluate": {site: {"products": {"tile": told}} for site, told in sites.items()}}


def test_verdicts_by_hand() -> None:
    found = verdict(result())
    assert found == Verdict(
        Rate(15, 20), Rate(3, 40), {"scratch": Rate(6, 10), "dent": Rate(9, 10)}
    )
    assert found.missed == Rate(5, 20) and found.wrong == Rate(8, 60)
    assert [name for name, _ in found.worst_first] == ["scratch", "dent"]
    assert alone(result()) == Verdict(Rate(12, 20), Rate(4, 40))
    assert str(found.stopped) == "3 of 40 (7.5%, 2.1%–18%)"


def test_without_a_threshold_there_is_no_verdict_not_a_zero() -> None:
    for none in (None, float("nan")):
        assert verdict(result() | {"threshold": none}) is None
        assert alone(result() | {"local_threshold": none}) is None
    assert Promise.of_result(result(calibrated=0)) is None
    assert Promise.of_result(result() | {"calibrated": None}) is None


def test_sites_add_up_and_those_without_a_threshold_do_not_count() -> None:
    more = result(kinds={"dent": (1, 2), "hole": (0, 1)})
    sites = [verdict(result()), None, verdict(more)]
    assert total(sites).found == Rate(30, 40) and total(sites).stopped == Rate(6, 80)
    assert total(sites).worst_first == [
        ("hole", Rate(0, 1)),
        ("scratch", Rate(6, 10)),
        ("dent", Rate(10, 12)),
    ]


@pytest.mark.parametrize("target", [0.3, 0.1, 0.07, 0.05, 0.03, 0.01, 0.001])
def test_so_many_images_are_needed_and_no_fewer(target: float) -> None:
    """As the calibration itself decides."""
    scores = np.arange(float(needed(target)))
    assert calibrate(scores, target).keeps(target)
    assert not calibrate(scores[1:], target).keeps(target)


def test_shortcomings_say_what_was_promised_and_what_mends_it() -> None:
    assert Promise.of_result(result()).shortcomings(0.05) == []
    few = Promise.of_result(result(calibrated=12, groups=12, promised_fpr=1 / 13))
    assert few.shortcomings(0.05) == [
        "12 images, 5 folds, which cannot promise fewer than 7.7% false alarms: target-fpr asks "
        "for 5.0%, and that takes 19 images"
    ]
    lots = Promise.of_result(result(groups=6, new_group_fpr=0.31))
    (line,) = lots.shortcomings(0.05)
    assert "a group that was never seen have 31% false alarms" in line
    assert line.endswith("there are 6 groups, and it takes 19 to promise it")
    assert Promise.of_result(result(groups=6, new_group_fpr=0.04)).shortcomings(0.05) == []
    enough = Promise.of_result(result(calibrated=90, groups=30, new_group_fpr=0.31))
    assert enough.shortcomings(0.05)[0].endswith("there are 30 groups")


@pytest.mark.parametrize("images", [31, 40, 60])
def test_one_pair_among_images_all_alike_raises_no_alarm(images: int) -> None:
    """Its share comes in steps of a group: 2 of 39 is above 5% and means nothing."""
    rng, groups = np.random.default_rng(0), [0, *range(images - 1)]
    for _ in range(50):
        found = calibrate(rng.lognormal(size=images), 0.05, groups=groups, by_folds=True)
        assert found.promise(5).shortcomings(0.05) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "24 images, 5 folds"),
        ({"groups": 8}, "24 images in 8 groups, 5 folds"),
        ({"groups": 5}, "24 images in 5 groups, one by one"),
        ({"folds": 24}, "24 images, one by one"),
        ({"folds": 0, "calibrated": 1, "groups": 1}, "1 image held out"),
    ],
)
def test_what_a_threshold_rests_on(changes: dict, words: str) -> None:
    assert Promise.of_result(result(**changes)).basis == words


def test_a_bank_tells_the_same_promise() -> None:
    scores = np.random.default_rng(0).normal(size=24)
    found = calibrate(scores, 0.05, groups=[at // 3 for at in range(24)], by_folds=True)
    of_bank = Promise.of_bank(json.loads(json.dumps(found.told(5))))
    assert (of_bank.basis, of_bank.promised) == ("24 images in 8 groups, 5 folds", 0.05)
    assert of_bank.new_group == found.new_group and str(of_bank) == f"5.0% (0%–{found.high:.0%})"
    assert range_of([of_bank, Promise(12, 1 / 13, 0.01, 0.5)]) == ("5.0%–7.7%", "0%–50%")
    assert range_of([]) == ("–", "–")


def test_what_is_kept_of_a_round() -> None:
    nowhere = result(threshold=float("nan"), calibrated=0, promised_fpr=1.0, kinds={})
    told = verdicts_told(record(a=result(), b=result(fpr_high=0.2), c=nowhere))["tile"]
    assert (told["sites"], told["promised"], told["low"], told["high"]) == (2, 0.05, 0.0, 0.2)
    assert told["defects_found"] == Rate(30, 40).told()
    assert told["good_stopped"]["count"] == 6 and told["kinds"]["dent"]["of"] == 20
    json.dumps(told, allow_nan=False)
    kept = verdicts_told(record(a=result()), withheld=True)["tile"]
    assert kept.keys() == told.keys() and set(kept.values()) == {None}
    json.dumps(verdicts_told(record(c=nowhere)), allow_nan=False)


def test_rows_of_the_result_table_hold_counts() -> None:
    nowhere = result(threshold=float("nan"), calibrated=0)
    a, b, mean = comparison_rows({"rounds": [record(a=result(), b=nowhere)]})
    assert (a["found"], a["stopped"], a["promised"]) == ([15, 20], [3, 40], [0.05, 0.0, 0.14])
    assert b["found"] is b["promised"] is None and not b["withheld"]
    assert (mean["found"], mean["stopped"]) == ([15, 20], [3, 40])
    kept = dict.fromkeys(("calibrated", "threshold", "true_positives", "kinds"))
    assert comparison_rows({"rounds": [record(a=result() | kept)]})[1]["withheld"]


POOLED = FIGURES | {
    **{"true_positives": 18, "false_negatives": 2, "false_positives": 1, "true_negatives": 39},
    **{"fpr_high": 0.09, "equal_threshold": 0.7, "equal_true_positives": 16},
    **{"equal_false_positives": 2},
}


def test_what_a_threshold_is_worth_in_one_line() -> None:
    lots = Promise.of_result(result(groups=6, new_group_fpr=0.31))
    stopped = "5.0% of good parts stopped, between 0% and 14% (90% sure)"
    assert lots.worth == f"24 images in 6 groups, 5 folds: {stopped}; 31% of a new group's"
    assert Promise.of_result(result()).worth == f"24 images, 5 folds: {stopped}"
    (none,) = Promise(0).shortcomings(0.05)
    assert none.startswith("no threshold: it takes two images")


def test_banks_are_compared_over_the_sites_that_all_of_them_judged() -> None:
    a, b = judged_by(result(), POOLED), judged_by(result(fpr_high=0.2), POOLED)
    assert list(a) == ["local", "federated", "pooled", "pooled_equal"]
    lone = judged_by(result(local_threshold=float("nan")), POOLED)
    assert "local" not in lone
    every = together([a, b, lone])
    assert every["local"].verdict == Verdict(Rate(24, 40), Rate(8, 80))
    assert every["federated"].verdict.found == Rate(30, 40) and every["federated"].sites == 2
    assert (every["federated"].high, every["pooled"].high) == (0.2, 0.09)
    assert every["pooled_equal"].verdict == Verdict(Rate(32, 40), Rate(4, 80))
    assert together([{"federated": a["federated"]}]) == together([]) == {}
    assert judged_by(result(calibrated=0), {}) == judged_by({}, {}) == {}


def test_metrics_tell_the_banks_side_by_side() -> None:
    told = compared_told(record(a=result(), b=result()), {s: {"tile": POOLED} for s in "ab"})
    pooled = told["tile"]["pooled"]
    assert (pooled["sites"], pooled["promised"], pooled["low"], pooled["high"]) == (
        2,
        0.05,
        0,
        0.09,
    )
    assert (pooled["defects_found"]["count"], pooled["defects_found"]["of"]) == (36, 40)
    assert (pooled["good_stopped"]["count"], pooled["good_stopped"]["of"]) == (2, 80)
    json.dumps(told, allow_nan=False)
    assert compared_told(record(a=result(local_threshold=None)), {}) == {}
    a, mean = comparison_rows({"rounds": [record(a=result())], "pooled": {"a": {"tile": POOLED}}})
    assert a["compared"] == mean["compared"] and a["compared"]["pooled"]["found"] == [18, 20]
    assert mean["compared"]["local"]["promised"] == [0.05, 0.0, 0.14]
