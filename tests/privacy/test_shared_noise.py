"""Discrete Gaussian shares: exact draws, and accounting against the exact privacy loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_mechanism import DiscreteGaussianPrivacyLoss
from scipy import stats

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.digits import DIGITS
from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.shared_noise import (
    SMOOTH,
    alone_multiplier,
    closeness,
    left_multiplier,
    share_steps,
    sum_sigma,
)
from fedpatchcore.privacy.sums import STEPS_A_SIGMA


def seeded(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def pmf(sigma: float, reach: int) -> np.ndarray:
    """Chances of −reach … reach."""
    k = np.arange(-reach, reach + 1)
    raw = np.exp(-(k**2) / (2 * sigma**2))
    return raw / raw.sum()


def fits(drawn: np.ndarray, chances: np.ndarray, reach: int) -> float:
    """p-value of a chi-square test, places with few draws put together at the ends."""
    known = np.flatnonzero(chances * len(drawn) > 20)
    low, high = known[0] - reach, known[-1] - reach
    counts = [(drawn < low).sum(), *[(drawn == k).sum() for k in range(low, high + 1)]]
    counts.append((drawn > high).sum())
    share = chances[known[0] : known[-1] + 1]
    tails = chances[: known[0]].sum(), chances[known[-1] + 1 :].sum()
    expected = np.array([tails[0], *share, tails[1]]) * len(drawn)
    counts, keep = np.array(counts), expected > 0
    return stats.chisquare(
        counts[keep], expected[keep] / expected.sum() * counts[keep].sum()
    ).pvalue


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1, 3.5, 20])
def test_draws_have_the_chances_of_the_discrete_gaussian(sigma: float) -> None:
    drawn = discrete_gaussian(sigma, 200_000, randbytes=seeded(1))
    reach = int(12 * sigma) + 2
    assert fits(drawn, pmf(sigma, reach), reach) > 1e-3


def test_of_the_products_scale() -> None:
    sigma = share_steps(4, 1)
    drawn = discrete_gaussian(sigma, 200_000, randbytes=seeded(2))
    assert (
        stats.kstest(
            drawn + np.random.default_rng(0).uniform(-0.5, 0.5, len(drawn)),
            stats.norm(0, math.hypot(sigma, 12**-0.5)).cdf,
        ).pvalue
        > 1e-3
    )
    assert drawn.std() == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("sites", [2, 3])
def test_shares_add_up_to_one_discrete_gaussian(sites: int) -> None:
    """Against the exact convolution, and that against the discrete Gaussian of √n times σ."""
    share, reach = 1.1, 20
    exact = one = pmf(share, reach)
    for _ in range(sites - 1):
        exact = np.convolve(exact, one)
    wide = (len(exact) - 1) // 2
    near = pmf(share * sites**0.5, wide)
    apart = np.abs(np.log(exact / near))[wide - 8 : wide + 9].max()
    assert 0 < apart <= closeness(share, sites, 1, smooth=9.0)
    drawn = sum(discrete_gaussian(share, 200_000, randbytes=seeded(s)) for s in range(sites))
    assert fits(drawn, exact, wide) > 1e-3


class Script:
    """Words as they are written, then zeros."""

    def __init__(self, *words: int) -> None:
        self.words, self.asked = list(words), []

    def __call__(self, count: int) -> bytes:
        self.asked.append(count)
        given = [self.words.pop(0) if self.words else 0 for _ in range(count // 8)]
        return b"".join(word.to_bytes(8, "little") for word in given)


def test_a_draw_that_float64_cannot_decide_is_decided_exactly() -> None:
    """V's first digits are those of exp(−1/2) itself: the next ones tell k = 0 from k = 1."""
    with mpmath.workdps(60):
        edge = mpmath.exp(mpmath.mpf(-1) / 2)
        digits = int(mpmath.floor(mpmath.ldexp(edge, DIGITS)))
        rest = int(mpmath.floor(mpmath.ldexp(edge, DIGITS + 64))) - (digits << 64)
    count = int(1.4) + 16
    for more, k in ((rest - 1, 1), (rest + 1, 0)):
        words = [digits] + [2**52] * (count - 1) + [0] * count  # all accepted but what γ forbids
        source = Script(*words, more)
        first = discrete_gaussian(1.0, 1, randbytes=source)[0]
        assert first == k
        assert source.asked[:2] == [16 * count, 8]


def test_zero_comes_once_and_signs_are_even() -> None:
    drawn = discrete_gaussian(0.7, 100_000, randbytes=seeded(3))
    assert abs((drawn > 0).mean() - (drawn < 0).mean()) < 0.01
    reach = 12
    assert (drawn == 0).mean() == pytest.approx(pmf(0.7, reach)[reach], abs=0.006)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 2.0**31])
def test_noise_that_is_none(bad: float) -> None:
    with pytest.raises(PrivacyError, match="discrete noise"):
        discrete_gaussian(bad, 1)
    with pytest.raises(PrivacyError, match="size of 0 or more"):
        discrete_gaussian(1.0, -1)
    assert discrete_gaussian(1.0, 0).shape == (0,)
    with pytest.raises(PrivacyError, match="gave 0 of"):
        discrete_gaussian(1.0, 1, randbytes=lambda count: b"")


def test_noise_is_the_systems_by_default() -> None:
    assert (discrete_gaussian(500.0, 50) != discrete_gaussian(500.0, 50)).any()


# -- what it costs ----------------------------------------------------------------------------


def exact_delta(chances: np.ndarray, moved: int, epsilon: float) -> float:
    """Hockey-stick divergence of noise and noise moved by so many steps, by its definition."""
    zeros = np.zeros(moved)
    there, here = np.concatenate([chances, zeros]), np.concatenate([zeros, chances])
    return float(np.maximum(there - math.exp(epsilon) * here, 0).sum())


@pytest.mark.parametrize("sites", [1, 2, 3, 4])
@pytest.mark.parametrize(("share", "moved"), [(8.0, 5), (10.0, 12), (25.0, 9)])
def test_the_charge_covers_the_exact_privacy_loss_of_the_exact_sum(sites, share, moved) -> None:
    """Small lattices, where nothing is negligible but what must be; δ from 1e-2 to 1e-9."""
    one = pmf(share, int(14 * share))
    exact = one
    for _ in range(sites - 1):
        exact = np.convolve(exact, one)
    multiplier = math.sqrt(sites * share**2 - SMOOTH**2) / moved
    tight = math.sqrt(sites) * share / moved
    for delta in (1e-2, 1e-5, 1e-9):
        charged = gaussian_epsilon(multiplier, delta)
        assert exact_delta(exact, moved, charged) <= delta * (1 + 1e-6) + 1e-13
        assert charged >= gaussian_epsilon(tight, delta)
        # and no more than the smoothing's share above
        assert exact_delta(exact, moved, gaussian_epsilon(tight, delta)) >= 0.5 * delta


def test_dp_accounting_agrees_on_one_discrete_gaussian() -> None:
    """Its exact loss of the sum's parameter, at the product's scale, against what is charged."""
    delta, share = 1e-5, share_steps(4, 1)
    total, sigma = round(share * 3**0.5), gaussian_sigma(1.0, 1e-5)
    moved = round(STEPS_A_SIGMA / sigma)  # the whole sensitivity
    loss = DiscreteGaussianPrivacyLoss(total, moved)
    charged = gaussian_epsilon(left_multiplier(sigma, share, 3), delta)
    assert charged == pytest.approx(1.0, abs=1e-9) and charged <= 1.0
    assert loss.get_delta_for_epsilon(charged * 1.001) <= delta
    assert loss.get_delta_for_epsilon(charged * 0.99) > delta


def test_two_places_that_move_at_once() -> None:
    """Sensitivity (3, 4) costs what 5 in one place costs: rotation does not matter."""
    share = 12.0
    one = pmf(share, 150)
    sum_ = np.convolve(one, one)
    zeros = [np.zeros(3), np.zeros(4)]
    here = np.outer(*(np.concatenate([sum_, z]) for z in zeros))
    there = np.outer(*(np.concatenate([z, sum_]) for z in zeros))
    multiplier = math.sqrt(2 * share**2 - SMOOTH**2) / 5
    for delta in (1e-2, 1e-5):
        epsilon = gaussian_epsilon(multiplier, delta)
        found = np.maximum(here - math.exp(epsilon) * there, 0).sum()
        assert 0.3 * delta < found <= delta * (1 + 1e-6)


@pytest.mark.parametrize(("openers", "colluding"), [(2, 1), (4, 1), (40, 1), (400, 20), (3, 0)])
def test_what_is_left_for_whom(openers: int, colluding: int) -> None:
    sigma = gaussian_sigma(1.0, 1e-5)
    share = share_steps(openers, colluding)
    against_server = left_multiplier(sigma, share, openers - colluding)
    assert sigma <= against_server <= sigma * (1 + 1e-9)
    alone = alone_multiplier(sigma, openers, colluding)
    assert alone == pytest.approx(sigma / math.sqrt(openers - colluding), rel=1e-3)
    assert sum_sigma(sigma, openers, openers, colluding) == pytest.approx(
        sigma * math.sqrt(openers / (openers - colluding)), rel=1e-5
    )
    assert closeness(share, openers, 10**9) < 1e-120


def test_five_sites_have_almost_the_noise_of_a_curator() -> None:
    full = 5**0.5
    assert sum_sigma(1.0, 5, 4, 1) / 1.0 == pytest.approx((5 / 3) ** 0.5, rel=1e-5)
    assert sum_sigma(1.0, 50, 40, 1) == pytest.approx((50 / 39) ** 0.5, rel=1e-5)
    assert full / sum_sigma(1.0, 5, 5, 0) == pytest.approx(full, rel=1e-5)


def test_no_noise_left_and_noise_finer_than_its_lattice() -> None:
    for openers, colluding in ((1, 1), (3, 4), (3, -1)):
        with pytest.raises(PrivacyError, match="leave no noise"):
            share_steps(openers, colluding)
    with pytest.raises(PrivacyError, match="finer than its lattice"):
        share_steps(300_000, 0)
    assert closeness(0.3, 3, 1) == math.inf
