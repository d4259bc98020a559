"""What a threshold promises, what it is worth, and which images decide it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.detection.suspects import least_explained


def test_the_threshold_lies_where_the_promise_asks() -> None:
    scores = np.arange(1.0, 32.0)  # n = 31: rank 30.4
    found = calibrate(scores, 0.05)
    assert found.value == pytest.approx(30.4)
    assert (found.promised_fpr, found.images, found.groups) == (0.05, 31, 31)
    low, high = beta.ppf((0.05, 0.95), 1.6, 30.4)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.keeps(0.05)
    assert found.without == pytest.approx(31 * 0.95)  # of 1 … 30


def test_too_few_images_promise_what_they_can() -> None:
    found = calibrate([3.0, 1.0, 2.0], 0.05)
    assert (found.value, found.promised_fpr) == (3.0, 0.25)
    assert not found.keeps(0.05)
    assert math.isnan(calibrate([], 0.05).value)
    assert math.isnan(calibrate([1.0], 0.05).without)


@given(st.integers(1, 60), st.sampled_from((0.01, 0.05, 0.1, 0.3, 0.9)), st.integers(0, 2**32 - 1))
def test_the_promise_holds_for_scores_that_get_rarer(n: int, target: float, seed: int) -> None:
    """Exponential scores, whose share above t is e⁻ᵗ: on average at most what is promised."""
    rng = np.random.default_rng(seed)
    rates = [math.exp(-calibrate(rng.exponential(size=n), target).value) for _ in range(300)]
    promised = calibrate(np.zeros(n), target).promised_fpr
    assert promised >= min(target, n / (n + 1)) - 1e-12
    assert np.mean(rates) <= promised + 4 * np.std(rates) / 300**0.5 + 1e-9


def test_the_true_rate_lies_in_the_interval_nine_times_in_ten() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        found = calibrate(rng.uniform(size=49), 0.1)
        inside += found.low <= 1 - found.value <= found.high
    assert 0.88 < inside / 2000 < 0.92


def test_images_that_belong_together_count_as_one() -> None:
    """Ten parts of six shots: all shots of a part are odd together."""
    rng, alone, together = np.random.default_rng(1), 0, 0
    groups = np.repeat(np.arange(10), 6)
    for _ in range(600):
        scores = rng.uniform(size=10)[groups] + 1e-6 * rng.uniform(size=60)
        rate = 1 - calibrate(scores, 0.1).value
        together += rate <= calibrate(scores, 0.1, groups=groups).high
        alone += rate <= calibrate(scores, 0.1).high
    assert together / 600 > 0.93 > 0.85 > alone / 600


def test_the_interval_holds_for_few_groups_whose_images_are_all_alike() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(2000):
        of_group = rng.uniform(size=4)
        scores = np.repeat(of_group, 6)
        found = calibrate(scores, 0.05, groups=np.repeat(range(4), 6).tolist())
        inside += 1 - found.value <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)  # Beta(1, 4) is exact here


def test_a_new_group_is_a_promise_of_its_own() -> None:
    """One lot lies apart: images of known lots pass, a lot like it would not."""
    scores = np.concatenate([np.linspace(0, 1, 40), np.linspace(5, 6, 10)])
    groups = np.repeat(np.arange(5), 10)
    found = calibrate(scores, 0.25, groups=groups)
    assert found.new_group == pytest.approx(np.mean([0, 0, 0, 0.1, 1.0]), abs=0.08)
    assert math.isnan(calibrate(scores, 0.25).new_group)  # nothing belongs together


def test_one_odd_image_is_told() -> None:
    usual = np.linspace(0.6, 0.775, 24)
    odd = calibrate([*usual, 1.24], 0.05)
    assert odd.rests_on_one and odd.without == pytest.approx(0.775, abs=0.01)
    assert not calibrate(usual, 0.05).rests_on_one
    first, second, *_ = least_explained([*usual, 1.24])
    assert (first.number, first.score, first.odd) == (24, 1.24, True)
    assert (second.number, second.odd) == (23, False)


def test_equal_scores_make_nobody_a_suspect_and_one_other_one() -> None:
    assert not any(one.odd for one in least_explained([1.0] * 9))
    assert [one.odd for one in least_explained([1.0] * 9 + [2.0])][:2] == [True, False]
    assert least_explained([]) == []
