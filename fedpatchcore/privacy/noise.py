"""Gaussian noise that may be published: exact, on a lattice, from the system's generator.

A float64 Gaussian leaks. The sums and products of floating point leave gaps that depend on the
private value, and an attacker who knows them tells neighbours apart whatever ε says (Mironov,
"On significance of the least significant bits for differential privacy", CCS 2012). Here the
release lies on the integers, scaled by a step that is chosen without looking at the data.

For U on the lattice and N ~ N(0, σ²) real-valued, U + round(N) = round(U + N). So the release is
a post-processing of the ideal Gaussian mechanism, and the analytic accounting of Balle & Wang
("Improving the Gaussian mechanism for differential privacy", ICML 2018) holds as it stands,
provided the sensitivity is that of U after it was put on the lattice. The alternative, a discrete
Gaussian (Canonne, Kamath & Steinke, NeurIPS 2020), needs accounting of its own.

Sampling is by inversion: random bits are the first digits of a uniform number, and more are drawn
only when all numbers that begin so do not yet round to the same integer.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import mpmath
import numpy as np
from scipy.special import ndtri

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.digits import DIGITS, Uniform, taken

__all__ = ["rounded_gaussian"]

MARGIN = 1e-12  # relative and absolute, of ndtri; its stated error is below 1e-15
LARGEST = 2.0**40


def rounded_gaussian(
    sigma: float, size: int, *, randbytes: Callable[[int], bytes] = os.urandom
) -> np.ndarray:
    """Independent samples of round(N), N ~ N(0, ``sigma``²) real-valued, as int64 `[size]`.

    Args:
        sigma: Standard deviation before rounding, in steps of the lattice.
        randbytes: Source of randomness; anything but ``os.urandom`` is for tests.

    Raises:
        PrivacyError: ``sigma`` is not in (0, 2^40], or ``size`` is negative.

    Above about 2^32 steps float64 decides little and the exact path is slow; take a coarser step.
    """
    if not 0 < sigma <= LARGEST:
        raise PrivacyError(f"noise needs a sigma in (0, 2^40] lattice steps, got {sigma}")
    if size < 0:
        raise PrivacyError(f"noise needs a size of 0 or more, got {size}")
    words = np.frombuffer(taken(8 * size, randbytes), dtype="<u8")
    digits = words & np.uint64(2**DIGITS - 1)
    # |N| = σ·x with tail probability Q(x) = V uniform on (0, 1/2): x falls as V rises.
    tail = digits.astype(np.float64)
    least = _nearest(sigma, -ndtri((tail + 1) / 2.0 ** (DIGITS + 1)), -MARGIN)
    most = _nearest(sigma, -ndtri(tail / 2.0 ** (DIGITS + 1)), +MARGIN)
    least = np.maximum(least, 0)
    open_ = np.flatnonzero(least != most)  # always so where the interval begins at V = 0
    magnitude = least.astype(np.int64)
    if open_.size:
        context = mpmath.mp.clone()
        for at in open_:
            uniform = Uniform(int(digits[at]), randbytes)
            magnitude[at] = _decide(context, sigma, uniform, int(least[at]))
    return np.where(words >> np.uint64(63), -magnitude, magnitude)


def _nearest(sigma: float, quantile: np.ndarray, margin: float) -> np.ndarray:
    """Integer nearest to σ·quantile, the quantile moved out by the margin."""
    return np.floor(sigma * (quantile + margin * (1 + np.abs(quantile))) + 0.5)


def _decide(context: mpmath.MPContext, sigma: float, uniform: Uniform, least: int) -> int:
    """Smallest integer k ≥ ``least`` with |N| ≤ k + 1/2, that is 2V > 2Q((k + 1/2)/σ)."""

    def reached(k: int) -> bool:
        def tail() -> mpmath.mpf:  # 2Q
            return context.erfc((k + context.mpf(0.5)) / context.mpf(sigma) / context.sqrt(2))

        return uniform.exceeds(context, tail)

    step = 1
    low, high = least - 1, least
    while not reached(high):
        low, high = high, high + step
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
