"""What an image has been through: Gaussian releases, and steps that took it by chance.

A plain Gaussian release adds to one number, μ² (`fedpatchcore.privacy.accounting`). A step of
DP-SGD takes each image with probability q (Poisson sampling, independently, in secret) before it
adds Gaussian noise, which costs less than a step that takes all (Abadi et al., "Deep learning with
differential privacy", CCS 2016, theorem 1). No single Gaussian is as good as such steps at every δ,
so they are kept as they are and composed by privacy loss distributions (Koskela, Jälkö & Honkela,
AISTATS 2020), as dp_accounting does it, add/remove adjacency, rounded to the safe side.

Where q, noise or number of steps are chosen in view of what earlier releases showed, the theory
that covers Gaussian releases (see there) is not known to cover sampled ones to the last digit.
Within a run they are fixed before it begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma, mu_squared

__all__ = ["Load", "Steps", "load_of", "most", "sampled_sigma"]

GRID = 1e-3  # of the privacy loss distribution, in units of the ε at hand
MOST = 1e6  # ε beyond any grid and any meaning
CLOSE = 1e-4  # relative; how near to the ε that was asked for noise is calibrated


@dataclass(frozen=True, order=True)
class Steps:
    """``count`` steps, each of which takes an image with probability ``rate``.

    Attributes:
        multiplier: of a step, σ over the most that one image moves its sum.
    """

    rate: float
    multiplier: float
    count: int


@dataclass(frozen=True)
class Load:
    """All that one image went into.

    Attributes:
        gaussian: Σ 1/multiplier² of releases that took it for certain.
        sampled: steps that took it by chance, one entry a rate and multiplier, in order.
    """

    gaussian: float = 0.0
    sampled: tuple[Steps, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gaussian or self.sampled)

    def plus(self, other: Load) -> Load:
        """Both, one after the other."""
        if not other.sampled:
            return Load(self.gaussian + other.gaussian, self.sampled)
        counts: dict[tuple[float, float], int] = {}
        for one in (*self.sampled, *other.sampled):
            at = (one.rate, one.multiplier)
            counts[at] = counts.get(at, 0) + one.count
        found = tuple(Steps(*at, count) for at, count in sorted(counts.items()))
        return Load(self.gaussian + other.gaussian, found)

    def epsilon(self, delta: float) -> float:
        """ε at ``delta``; never below the truth."""
        if not self.sampled:
            return gaussian_epsilon(self.gaussian**-0.5, delta) if self.gaussian else 0.0
        return _composed(self, delta)


def load_of(multiplier: float, rate: float | None, steps: int | None) -> Load:
    """What one release adds. Raises PrivacyError for figures that cannot be accounted for."""
    if rate is None or steps is None:
        return Load(mu_squared(multiplier))
    if not (0 < rate < 1 and steps > 0):
        raise PrivacyError(f"{steps} steps that take an image with probability {rate}")
    if mu_squared(multiplier) == math.inf:
        return Load(math.inf)
    return Load(0.0, (Steps(rate, multiplier, steps),))


@lru_cache(maxsize=64)
def sampled_sigma(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Noise multiplier of a step so that ``steps`` of them cost at most ``epsilon``.

    Within 0.01% of the least such one; with ``rate`` 1 the least.

    Raises PrivacyError for figures that no noise can serve.
    """
    if not 0 < rate <= 1 or steps < 1:
        raise PrivacyError(f"{steps} steps that take an image with probability {rate}")
    high = gaussian_sigma(epsilon, delta) * math.sqrt(steps)  # as if each took all
    if rate == 1:
        return high

    def cost(sigma: float) -> float:
        return load_of(sigma, rate, steps).epsilon(delta)

    low = high
    while cost(low) <= epsilon:
        high, low = low, low / 2
    while high > low * (1 + CLOSE):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if cost(middle) <= epsilon else (middle, high)
    return high


def most(loads: Iterable[Load], more: Load, delta: float) -> float:
    """The largest ε of these loads, each after ``more``; that of ``more`` without any."""
    different = {id(one): one for one in loads}.values()  # most images share one
    after = {one.plus(more) for one in different} or {more}
    plain = max((one.gaussian for one in after if not one.sampled), default=0.0)
    told = [one.epsilon(delta) for one in after if one.sampled]
    return max([Load(plain).epsilon(delta), *told])


@lru_cache(maxsize=1024)
def _composed(load: Load, delta: float) -> float:
    if load.gaussian == math.inf:
        return math.inf
    whole = load.gaussian + sum(one.count * one.multiplier**-2 for one in load.sampled)
    bound = gaussian_epsilon(whole**-0.5, delta)  # as if every step had taken it
    if bound > MOST:
        return bound
    grid = GRID * min(max(bound, 0.1), 1.0)
    accountant = PLDAccountant(
        NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=grid
    )
    for one in load.sampled:
        event = PoissonSampledDpEvent(one.rate, GaussianDpEvent(one.multiplier))
        accountant.compose(SelfComposedDpEvent(event, one.count))
    if load.gaussian:
        accountant.compose(GaussianDpEvent(load.gaussian**-0.5))
    return min(bound, float(accountant.get_epsilon(delta)))
