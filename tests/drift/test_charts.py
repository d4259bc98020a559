"""Charts: limits and run lengths against books, closed forms and simulations of their own."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from statistics import NormalDist, fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpatchcore.drift.cusum import Cusum, run_length, run_length_of_both
from fedpatchcore.drift.proportions import RARE, Usual, shewhart
from fedpatchcore.drift.reference import Reference


def test_three_sigma_lines_are_the_books() -> None:
    """Montgomery, example 7.1: frozen orange juice cans, p = 0.2313, samples of 50."""
    low, high = shewhart(0.2313, 50)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.4102)
    assert shewhart(0.01, 50)[0] == 0.0


@pytest.mark.parametrize(
    ("shift", "of_four", "of_five"),
    [
        (0.0, 168, 465),
        (0.25, 74.2, 139),
        (0.5, 26.6, 38.0),
        (0.75, 13.3, 17.0),
        (1.0, 8.38, 10.4),
        (1.5, 4.75, 5.75),
        (2.0, 3.34, 4.01),
        (3.0, 2.19, 2.57),
        (4.0, 1.71, 2.01),
    ],
)
def test_run_lengths_are_the_books(shift: float, of_four: float, of_five: float) -> None:
    """Montgomery, table 9.3: both sums, k = ½, h = 4 and 5."""
    assert run_length_of_both(shift, 0.5, 4.0) == pytest.approx(of_four, rel=0.01)
    assert run_length_of_both(shift, 0.5, 5.0) == pytest.approx(of_five, rel=0.01)


@pytest.mark.parametrize(("shift", "k", "h"), [(0.0, 0.5, 3.0), (1.0, 1.0, 5.0), (2.0, 1.0, 5.0)])
def test_run_lengths_are_those_of_a_simulation(shift: float, k: float, h: float) -> None:
    """The recursion written down anew, over thousands of lines at once."""
    rng = np.random.default_rng(5)
    lines = 4000
    total, length, open_ = np.zeros(lines), np.zeros(lines), np.ones(lines, bool)
    while open_.any():
        total = np.maximum(0.0, total + rng.normal(shift, 1.0, lines) - k)
        length += open_
        open_ &= total <= h
    error = length.std() / math.sqrt(lines)
    assert abs(length.mean() - run_length(shift, k, h)) < 4 * error


@given(st.lists(st.floats(-4, 4), max_size=60))
def test_both_sums_are_page_s(values: list[float]) -> None:
    """S − min S of the partial sums, which is how Page wrote it."""
    now, k = Cusum(), 0.5
    for z in values:
        now = now.step(z, k)
    for sign, found in ((1, now.up), (-1, now.down)):
        partial = np.cumsum([0.0, *(sign * z - k for z in values)])
        assert found == pytest.approx(partial[-1] - partial.min(), abs=1e-9)
    assert (now.rising == 0) == (now.up == 0)


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("of", [10, 50, 200])
def test_counts_beyond_the_limits_are_rare_by_the_binomial(rate: float, of: int) -> None:
    usual = Usual(rate)
    least, most = usual.limits(of)
    law = stats.binom(of, rate)
    assert usual.chances(of) == pytest.approx(law.pmf(range(of + 1)), abs=1e-9)
    assert law.sf(most) <= RARE + 1e-12 and (most == 0 or law.sf(most - 1) > RARE)
    assert law.cdf(least - 1) <= RARE + 1e-12


@pytest.mark.parametrize(("count", "of"), [(0, 100), (3, 100), (5, 40), (40, 40)])
def test_a_counted_rate_is_held_against_what_it_may_truly_be(count: int, of: int) -> None:
    usual = Usual.counted(count, of)
    law = stats.betabinom(50, count + 0.5, of - count + 0.5)
    assert usual.chances(50) == pytest.approx(law.pmf(range(51)), abs=1e-9)
    least, most = usual.limits(50)
    assert law.sf(most) <= RARE < (law.sf(most - 1) if most else 1)
    if 0 < count < of:  # wider than if the rate were known
        assert most > Usual(count / of).limits(50)[1] or least < Usual(count / of).limits(50)[0]


def test_the_lines_that_are_drawn_would_be_no_good_to_decide_by() -> None:
    """What proportions.py says of 50 parts at 1%."""
    line = shewhart(0.01, 50)[1] * 50
    assert stats.binom(50, 0.01).sf(math.floor(line)) == pytest.approx(0.0138, abs=5e-4)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(-2, 11))
def test_a_score_is_the_normal_value_of_the_middle_rank(values: list[int], value: int) -> None:
    below, ties = sum(v < value for v in values), values.count(value)
    rank = Fraction(2 * below + ties + 1, 2 * (len(values) + 1))
    found = Reference.of(map(float, values)).score(float(value))
    assert found == pytest.approx(NormalDist().inv_cdf(float(rank)))


def test_scores_of_the_same_kind_are_0_on_average_whatever_the_kind() -> None:
    chance = random.Random(3)
    kinds = [
        lambda: chance.lognormvariate(0, 1),
        lambda: chance.choice((1.0, 5.0)) + chance.gauss(0, 0.1),
        lambda: min(1.0, chance.expovariate(3)),
    ]
    for kind in kinds:
        known = [Reference.of(kind() for _ in range(100)).score(kind()) for _ in range(3000)]
        assert abs(fmean(known)) < 0.06 and max(known) <= 2.58


def test_what_matters_to_nobody_counts_as_equal() -> None:
    known = Reference.of([100.0, 100.1, 100.2], tolerance=2.0)
    assert known.score(101.9) == known.score(100.1) == 0.0 and known.apart(101.9) == 0.0
    assert known.score(104.0) > 1.1 and known.apart(104.1) == pytest.approx(2.0)


@pytest.mark.slow
def test_ranks_of_a_reference_of_a_hundred_are_wrong_as_seldom_as_the_page_says() -> None:
    """One sum of k = 1, h = 5 over rank scores: of 400 lines a false alarm in 1,000 parts."""
    rng = np.random.default_rng(9)
    wrong = 0
    for _ in range(400):
        known = Reference.of(rng.lognormal(size=100))
        now = Cusum()
        for value in rng.lognormal(size=1000):
            now = now.step(known.score(value), 1.0)
            if now.up > 5.0:
                wrong += 1
                now = Cusum()
    assert wrong / 400 < 0.1
