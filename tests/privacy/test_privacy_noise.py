"""Rounded Gaussian noise is exact, secure and quick."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.noise import MARGIN, rounded_gaussian

ALL = 2**53


def seeded(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


class Script:
    """A random source that gives what is written; counts how often it was asked."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)
        self.asked = 0

    def __call__(self, count: int) -> bytes:
        assert count % 8 == 0
        self.asked += 1
        taken, self.words = self.words[: count // 8], self.words[count // 8 :]
        return b"".join(word.to_bytes(8, "little") for word in taken)


def exact(digits: int, count: int, sigma: float) -> int:
    """Nearest integer to σ·Q⁻¹(V) for the middle of the interval, to 200 digits."""
    with mpmath.workdps(200):
        tail = (mpmath.mpf(digits) + mpmath.mpf(0.5)) / mpmath.mpf(2) ** (count + 1)
        quantile = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * tail)
        return int(mpmath.floor(mpmath.mpf(sigma) * quantile + mpmath.mpf(0.5)))


@pytest.mark.parametrize("sigma", [0.7, 3, 50])
def test_frequencies_are_those_of_the_cells(sigma: float) -> None:
    size = 200_000
    drawn = rounded_gaussian(sigma, size, randbytes=seeded(1))
    reach = int(3 * sigma) + 1
    edges = np.arange(-reach, reach + 2) - 0.5
    chances = np.diff(stats.norm.cdf(edges / sigma))
    chances = np.array(
        [stats.norm.cdf(edges[0] / sigma), *chances, stats.norm.sf(edges[-1] / sigma)]
    )
    counts = np.histogram(drawn, [-np.inf, *edges, np.inf])[0]
    assert stats.chisquare(counts, chances * size).pvalue > 0.001


def test_variance_is_that_of_the_rounded_gaussian() -> None:
    drawn = rounded_gaussian(4096, 400_000, randbytes=seeded(2)).astype(float)
    error = math.sqrt(2 / drawn.size)
    assert drawn.var() / (4096**2 + 1 / 12) == pytest.approx(1, abs=4 * error)
    assert abs(drawn.mean()) < 4 * 4096 / math.sqrt(drawn.size)
    small = rounded_gaussian(1.0, 400_000, randbytes=seeded(3)).astype(float)
    assert small.var() == pytest.approx(1 + 1 / 12, abs=0.01)  # and not 1


def test_follows_the_normal_law_far_into_the_tails() -> None:
    drawn = rounded_gaussian(2**20, 300_000, randbytes=seeded(4)) / 2**20
    assert stats.kstest(drawn, "norm").pvalue > 0.001
    assert drawn.max() > 4 and drawn.min() < -4
    for bound in (2, 3, 3.5):
        expected = 2 * stats.norm.sf(bound) * drawn.size
        assert abs((abs(drawn) > bound).sum() - expected) < 5 * math.sqrt(expected)


def test_small_noise_is_mostly_zero() -> None:
    drawn = rounded_gaussian(0.2, 50_000, randbytes=seeded(5))
    assert (drawn == 0).mean() == pytest.approx(1 - 2 * stats.norm.sf(2.5), abs=0.003)
    assert not rounded_gaussian(1e-300, 1000).any()


def test_the_sign_is_one_bit_beside_the_magnitude() -> None:
    words = [(sign << 63) | 12345678901234 for sign in (0, 1)]
    drawn = rounded_gaussian(1000, 2, randbytes=Script(*words))
    assert drawn[0] == -drawn[1] != 0


@given(st.integers(0, ALL - 1), st.floats(-3, 30).map(lambda power: 2**power))
def test_agrees_with_high_precision(digits: int, sigma: float) -> None:
    source = Script(digits, 2**63, 2**63, 2**63)  # further digits: the middle of the interval
    (drawn,) = rounded_gaussian(sigma, 1, randbytes=source)
    assert drawn == exact(digits, 53, sigma)


@pytest.mark.parametrize("digits", [0, 1, 5, ALL // 2, ALL - 2, ALL - 1])
@pytest.mark.parametrize("sigma", [0.3, 3.0, 4096.0, 2.0**30])
def test_agrees_at_the_ends_of_the_interval(digits: int, sigma: float) -> None:
    source = Script(digits, *[2**63] * 6)
    assert rounded_gaussian(sigma, 1, randbytes=source)[0] == exact(digits, 53, sigma)


def test_the_far_end_is_decided_by_more_digits() -> None:
    """The first interval begins at V = 0, where the quantile is infinite."""
    near, far = Script(0, 2**64 - 1, 7), Script(0, 0, 2**60, 7)
    assert rounded_gaussian(100.0, 1, randbytes=near)[0] == exact(2**64 - 1, 117, 100.0)
    assert rounded_gaussian(100.0, 1, randbytes=far)[0] == exact(2**60, 181, 100.0)
    assert near.asked == 2 and far.asked == 3


@pytest.mark.parametrize(("sigma", "k"), [(3.0, 0), (3.0, 4), (50.0, 123), (4096.0, 9000)])
def test_a_boundary_is_decided_by_more_digits(sigma: float, k: int) -> None:
    """Digits that begin just as the boundary k + 1/2 does: only later ones tell the side."""
    with mpmath.workdps(200):
        bound = mpmath.erfc((k + mpmath.mpf(0.5)) / (sigma * mpmath.sqrt(2)))
        digits = [int(mpmath.floor(bound * mpmath.mpf(2) ** count)) for count in (53, 117, 181)]
    second, third = digits[1] & (2**64 - 1), digits[2] & (2**64 - 1)
    for last, expected in ((third + 1, k), (third - 1, k + 1)):
        source = Script(digits[0], second, last)
        assert rounded_gaussian(sigma, 1, randbytes=source)[0] == expected
        assert source.asked == 3


def test_the_margin_covers_the_quantile_function_many_times() -> None:
    powers = np.random.default_rng(6).uniform(-54, -1, 300)
    tails = np.array([*(2.0**powers), 0.5 - 2.0**-54, 0.135, 0.1353353])
    with mpmath.workdps(60):
        true = [-mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(tail)) for tail in tails]
        wrong = [abs(mpmath.mpf(x) - y) for x, y in zip(ndtri(tails), true, strict=True)]
        assert max(w / (1 + abs(y)) for w, y in zip(wrong, true, strict=True)) < MARGIN / 100


def test_randomness_is_the_systems_and_knows_no_seed() -> None:
    np.random.seed(0)
    first = rounded_gaussian(1000, 50)
    np.random.seed(0)
    second = rounded_gaussian(1000, 50)
    assert (first != second).any()


def test_is_quick() -> None:
    for sigma in (0.7, 4096, 2**24):
        start = time.process_time()
        rounded_gaussian(sigma, 100_000)
        assert time.process_time() - start < 2


def test_size_and_type() -> None:
    assert rounded_gaussian(3, 0).shape == (0,)
    drawn = rounded_gaussian(3, 7)
    assert drawn.shape == (7,) and drawn.dtype == np.int64


@pytest.mark.parametrize("sigma", [0, -1, math.nan, math.inf, 2.0**41])
def test_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(PrivacyError, match="sigma"):
        rounded_gaussian(sigma, 3)


def test_a_negative_size_or_a_short_source_is_refused() -> None:
    with pytest.raises(PrivacyError, match="size"):
        rounded_gaussian(1, -1)
    with pytest.raises(PrivacyError, match="8 of 16 bytes"):
        rounded_gaussian(1, 2, randbytes=Script(1))
