"""What Gaussian releases cost: (ε, δ) of one, of several over the same images, of a group.

Neighbouring data sets differ by one image that is added or removed; the L2 sensitivity is that
of this relation and is always stated, never scaled by the accountant. All figures rest on the
analytic Gaussian mechanism (Balle & Wang, "Improving the Gaussian mechanism for differential
privacy", ICML 2018, theorem 8), computed by dp_accounting and rounded to the safe side.

A release with noise multiplier m = σ/sensitivity is 1/m-Gaussian-DP, and releases compose as
μ² = Σ 1/m² (Dong, Roth & Su, "Gaussian differential privacy", 2022, corollary 3.3): exact for
multipliers fixed beforehand. Where they are chosen in view of earlier releases, what holds is a
budget that was fixed beforehand and is never exceeded (Koskela, Tobaben & Honkela, "Individual
privacy accounting with Gaussian differential privacy", ICLR 2023).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    SelfComposedDpEvent,
    get_epsilon_gaussian,
    get_sigma_gaussian,
)
from dp_accounting.pld import PLDAccountant

from fedpatchcore.errors import PrivacyError

__all__ = [
    "composed_epsilon",
    "gaussian_epsilon",
    "gaussian_sigma",
    "group_epsilon",
    "max_delta",
    "mu_squared",
    "pld_epsilon",
]

SLACK = 1e-11  # relative and absolute; the search for ε ends within 1e-12
UNPROTECTED = 1e-8  # a multiplier below this one means ε > 10^15: no protection at all


def gaussian_epsilon(sigma: float, delta: float, *, sensitivity: float = 1.0) -> float:
    """Smallest ε of adding N(0, sigma²) to what one image moves by ``sensitivity`` at most.

    Rounded up, never below the truth; infinite for ``sigma`` 0.

    >>> round(gaussian_epsilon(3.7306316, 1e-5), 6)
    1.0
    """
    _check_delta(delta)
    _check("sensitivity", sensitivity)
    if not sigma >= 0:
        raise PrivacyError(f"sigma must be 0 or more, got {sigma}")
    multiplier = sigma / sensitivity
    if multiplier < UNPROTECTED:
        return math.inf
    with np.errstate(divide="ignore", over="ignore"):
        epsilon = float(get_epsilon_gaussian(multiplier, delta))
    return epsilon * (1 + SLACK) + SLACK if epsilon else 0.0


def gaussian_sigma(epsilon: float, delta: float, *, sensitivity: float = 1.0) -> float:
    """Smallest standard deviation whose `gaussian_epsilon` is at most ``epsilon``.

    Rounded up by some 1e-11, so that the calibrated noise never costs more than was asked for.
    """
    _check("epsilon", epsilon)
    _check_delta(delta)
    _check("sensitivity", sensitivity)
    with np.errstate(divide="ignore", over="ignore"):
        sigma = float(get_sigma_gaussian(epsilon, delta)) * sensitivity
    step = 1e-12
    while gaussian_epsilon(sigma, delta, sensitivity=sensitivity) > epsilon:
        sigma *= 1 + step
        step *= 2
    return sigma


def mu_squared(multiplier: float) -> float:
    """What a release adds to μ²: 1/multiplier²; infinite if it is as good as unprotected."""
    if not multiplier >= 0:
        raise PrivacyError(f"a noise multiplier must be 0 or more, got {multiplier}")
    return math.inf if multiplier < UNPROTECTED else multiplier**-2


def composed_epsilon(multipliers: Iterable[float], delta: float) -> float:
    """ε of all these Gaussian releases over the same images, one after the other.

    Empty costs nothing; a multiplier of 0 is an unprotected release, hence infinite.
    """
    _check_delta(delta)
    total = math.fsum(mu_squared(m) for m in multipliers)
    return gaussian_epsilon(1 / math.sqrt(total), delta) if total else 0.0


def pld_epsilon(multipliers: Sequence[float], delta: float) -> float:
    """The same by privacy loss distributions: numerical, independent of the closed form.

    Above `composed_epsilon`, by less than 1e-3 of it, and infinite where that exceeds a
    million, which is beyond any grid and any meaning.
    """
    closed = composed_epsilon(multipliers, delta)
    if closed == 0 or closed > 1e6:
        return math.inf if closed else 0.0
    accountant = PLDAccountant(
        NeighboringRelation.ADD_OR_REMOVE_ONE,
        value_discretization_interval=1e-4 * max(closed, 1e-2),
    )
    for multiplier, count in Counter(multipliers).items():
        accountant.compose(SelfComposedDpEvent(GaussianDpEvent(multiplier), count))
    return float(accountant.get_epsilon(delta))


def group_epsilon(
    sigma_over_clip: float, delta: float, rows: int, *, per_row_change: float = 2.0
) -> float:
    """Image-level ε of noise that was calibrated for a single row of norm at most C.

    One image changes ``rows`` rows, each by up to ``per_row_change``·C (2C: one clipped row
    becomes another), so the L2 sensitivity is per_row_change·C·√rows, not C.
    """
    _check_delta(delta)
    _check("per_row_change", per_row_change)
    if rows < 0:
        raise PrivacyError(f"rows must be 0 or more, got {rows}")
    if not sigma_over_clip >= 0:
        raise PrivacyError(f"sigma_over_clip must be 0 or more, got {sigma_over_clip}")
    if rows == 0:
        return 0.0
    return gaussian_epsilon(sigma_over_clip, delta, sensitivity=per_row_change * math.sqrt(rows))


def max_delta(images: int) -> float:
    """Largest δ that is still a guarantee for so many images: min(1e-5, 1/(10·images)).

    >>> max_delta(800), max_delta(50_000)
    (1e-05, 2e-06)
    """
    if images < 1:
        raise PrivacyError(f"delta is chosen for 1 image or more, got {images}")
    return min(1e-5, 1 / (10 * images))


def _check(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise PrivacyError(f"{name} must be a positive number, got {value}")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise PrivacyError(f"delta must lie between 0 and 1, got {delta}")
