"""The discrete Gaussian on the integers, exactly, from the system's generator.

P(k) ∝ exp(−k²/2σ²). By rejection from a two-sided geometric distribution, algorithm 3 of Canonne,
Kamath & Steinke ("The discrete Gaussian for differential privacy", NeurIPS 2020); its coins are
uniform numbers held against exp(·), more digits of them drawn only where float64 can't decide.
What the noise costs stands in `fedpatchcore.privacy.shared_noise`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import mpmath
import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.digits import DIGITS, Uniform, taken

__all__ = ["discrete_gaussian"]

MARGIN = 1e-11  # relative, of exp and log; their errors here are below 1e-12
LARGEST = 2.0**30
RandBytes = Callable[[int], bytes]


def discrete_gaussian(sigma: float, size: int, *, randbytes: RandBytes = os.urandom) -> np.ndarray:
    """Independent samples, int64 ``[size]``.

    Args:
        sigma: the parameter σ; from a few steps on also the standard deviation.
        randbytes: Source of randomness; anything but ``os.urandom`` is for tests.

    Raises:
        PrivacyError: ``sigma`` is not in (0, 2^30], or ``size`` is negative.
    """
    if not 0 < sigma <= LARGEST:
        raise PrivacyError(f"discrete noise needs a sigma in (0, 2^30] steps, got {sigma}")
    if size < 0:
        raise PrivacyError(f"noise needs a size of 0 or more, got {size}")
    scale = math.floor(sigma) + 1  # of the geometric proposals
    found, have = [np.zeros(0, np.int64)], 0
    while have < size:
        drawn = _round(sigma, scale, int(1.4 * (size - have)) + 16, randbytes)
        found.append(drawn)
        have += len(drawn)
    return np.concatenate(found)[:size]


def _round(sigma: float, scale: int, count: int, randbytes: RandBytes) -> np.ndarray:
    """What is accepted of ``count`` proposals, in their order."""
    words = np.frombuffer(taken(16 * count, randbytes), "<u8").reshape(2, count)
    digits = words & np.uint64(2**DIGITS - 1)
    context = mpmath.mp.clone()
    far = _geometric(scale, digits[0], context, randbytes)
    keep = _accepted(sigma, scale, far, digits[1], context, randbytes)
    minus = words[0] >> np.uint64(63) == 1
    keep &= ~(minus & (far == 0))  # or 0 would come twice as often
    return np.where(minus, -far, far)[keep]


def _geometric(
    scale: int, digits: np.ndarray, context: mpmath.MPContext, randbytes: RandBytes
) -> np.ndarray:
    """The largest k with V ≤ exp(−k/scale), so P(k or more) = exp(−k/scale); int64 ``[n]``."""
    ends = digits.astype(np.float64) / 2.0**DIGITS
    with np.errstate(divide="ignore"):
        least = -scale * np.log(ends + 2.0**-DIGITS)
        most = -scale * np.log(ends)
    least = np.floor(np.maximum(least * (1 - MARGIN) - MARGIN, 0))
    most = np.floor(most * (1 + MARGIN) + MARGIN)
    far = least.astype(np.int64)
    for at in np.flatnonzero(least != most):  # always so where the interval begins at V = 0
        uniform, k = Uniform(int(digits[at]), randbytes), int(far[at])
        while not uniform.exceeds(context, lambda k=k: context.exp(context.mpf(-k - 1) / scale)):
            k += 1
        far[at] = k
    return far


def _accepted(
    sigma: float,
    scale: int,
    far: np.ndarray,
    digits: np.ndarray,
    context: mpmath.MPContext,
    randbytes: RandBytes,
) -> np.ndarray:
    """Coins that fall with chance exp(−(k − σ²/scale)²/2σ²), bool ``[n]``."""
    chance = np.exp(-((far - sigma * sigma / scale) ** 2) / (2 * sigma * sigma))
    ends = digits.astype(np.float64) / 2.0**DIGITS
    accepted = ends + 2.0**-DIGITS <= chance * (1 - MARGIN)
    refused = ends >= chance * (1 + MARGIN)
    for at in np.flatnonzero(~accepted & ~refused):

        def bound(k: int = int(far[at])) -> mpmath.mpf:
            square = context.mpf(sigma) ** 2
            return context.exp(-((k - square / scale) ** 2) / (2 * square))

        accepted[at] = not Uniform(int(digits[at]), randbytes).exceeds(context, bound)
    return accepted
