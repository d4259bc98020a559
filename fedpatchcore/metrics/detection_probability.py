"""Probability of detection (POD) against size: which defects are found nine times in ten.

The hit/miss model of MIL-HDBK-1823A (2009, appendix G) for non-destructive testing:
logit POD(a) = b0 + b1 ln a by maximum likelihood. a50 and a90 are the sizes found in 50 and 90% of
trials; a90/95 is the size of which that can be said with 95% confidence, one-sided. Its bound is
Wald's, where the lower bound of the curve reaches 90% (Cheng, Iles, Technometrics 25, 1983), or
from the likelihood ratio. Of 800 simulated sets each of 30 to 300 trials Wald's held the true a90
in 95.5 to 100%, the ratio's in 91.5 to 94.4%: so Wald's, which is wide where trials are few.

Trials are taken as independent: one defect a picture, or the bound is too good. As it is in the
handbook, a hit is a hit whatever caused it: the curve says little of sizes where hits are hardly
more often than false alarms. A curve that the trials do not determine is refused with a reason,
never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.rates import percent

__all__ = ["FEWEST", "WANTED", "NoPod", "Pod", "fit_pod"]

FEWEST = 20  # trials; with fewer nothing is said
WANTED = 60  # trials that MIL-HDBK-1823A asks for; with fewer it is said
STEPS = 100  # of Newton's method
EXACT = 1e-10
FARTHEST = 64.0  # standard deviations of ln size that a bound is looked for

Bound = Literal["likelihood", "wald"]


@dataclass(frozen=True)
class NoPod:
    """No curve, and why; what can be said all the same.

    Attributes:
        trials, hits: what there was.
        reason: one line.
        at_least: of all hits, a POD that holds at 95% over the sizes tried; else NaN.
    """

    trials: int
    hits: int
    reason: str
    at_least: float = math.nan

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        return {
            "trials": self.trials,
            "hits": self.hits,
            "reason": self.reason,
            "at_least": None if math.isnan(self.at_least) else self.at_least,
        }

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Pod:
    """A curve that the trials determine.

    Attributes:
        intercept, slope: b0 and b1 > 0, of ln size.
        covariance: float [2, 2] of both, the inverse of the observed information.
        trials, hits: it rests on; ``smallest`` and ``largest``: sizes that were tried.
        sizes, found: the trials: float [N] > 0, bool [N].
    """

    intercept: float
    slope: float
    covariance: np.ndarray
    sizes: np.ndarray
    found: np.ndarray

    @property
    def trials(self) -> int:
        """Trials that it rests on."""
        return len(self.sizes)

    @property
    def hits(self) -> int:
        """Of them, those that were found."""
        return int(self.found.sum())

    @property
    def few(self) -> bool:
        """Whether it rests on fewer trials than the handbook asks for."""
        return self.trials < WANTED

    def at(self, size: ArrayLike) -> np.ndarray:
        """POD of sizes > 0, in (0, 1)."""
        return _expit(self.intercept + self.slope * np.log(size))

    def lowest(self, size: ArrayLike, sure: float = 0.95) -> np.ndarray:
        """Lower bound of POD at each of these sizes, one-sided, Wald's."""
        x = np.log(np.asarray(size, np.float64))
        spread = np.sqrt(_variance(self.covariance, x))
        return _expit(self.intercept + self.slope * x - _quantile(sure) * spread)

    def size(self, pod: float) -> float:
        """The size found so often, ``pod`` in (0, 1); infinite or 0 where no number holds it."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp((_logit(pod) - self.intercept) / self.slope))

    def sure_size(self, pod: float = 0.9, sure: float = 0.95, by: Bound = "wald") -> float:
        """The size that is found so often, with this confidence; infinite where there is none.

        There is none where the trials do not show at this confidence that larger ones are found
        more often.
        """
        bound = _by_likelihood if by == "likelihood" else _by_curvature
        return bound(self, float(_logit(pod)), _quantile(sure))

    @property
    def beyond(self) -> bool:
        """Whether a90 or a90/95 lie outside the sizes tried: the curve is all that says so."""
        low, high = self.sizes.min(), self.sizes.max()
        return not low <= self.size(0.9) <= self.sure_size() <= high

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it; a size is None where there is none that a number holds."""
        ends = self.size(0.5), self.size(0.9), self.sure_size()
        held = [one if 0 < one < math.inf else None for one in ends]
        return {
            "trials": self.trials,
            "hits": self.hits,
            "intercept": self.intercept,
            "slope": self.slope,
            **dict(zip(("a50", "a90", "a90_95"), held, strict=True)),
            "smallest": float(self.sizes.min()),
            "largest": float(self.sizes.max()),
            "beyond": self.beyond,
            "few": self.few,
        }


def fit_pod(sizes: ArrayLike, found: Sequence[bool] | np.ndarray) -> Pod | NoPod:
    """Trials → the curve, or why there is none.

    Args:
        sizes: float [N], finite and > 0, as shares (reasons tell them in percent).
        found: 0, 1 or bool [N].

    Raises:
        DataError: for sizes or outcomes that are none such.
    """
    sizes, found = _checked(sizes, found)
    if reason := _undetermined(sizes, found):
        at_least = 0.05 ** (1 / len(found)) if len(found) and found.all() else math.nan
        return NoPod(len(found), int(found.sum()), reason, at_least)
    x = np.log(sizes)
    middle, scale = float(x.mean()), float(x.std())
    b, information = _most_likely(np.stack([np.ones_like(x), (x - middle) / scale], 1), found)
    if b[1] <= 0:
        reason = "larger defects are not found more often than smaller ones"
        return NoPod(len(found), int(found.sum()), reason)
    back = np.array([[1, -middle / scale], [0, 1 / scale]])
    intercept, slope = back @ b
    covariance = back @ np.linalg.inv(information) @ back.T
    return Pod(float(intercept), float(slope), covariance, sizes, found)


def _checked(sizes: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sizes, found = np.asarray(sizes, np.float64), np.asarray(found)
    if sizes.ndim != 1 or found.shape != sizes.shape:
        raise DataError(
            f"sizes of shape {sizes.shape} and outcomes of shape {found.shape}; give one each"
        )
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise DataError("sizes of defects must be finite and above 0")
    if not np.isin(found, (0, 1)).all():
        raise DataError("outcomes must be 0 (missed) or 1 (found)")
    return sizes, found.astype(np.bool_)


def _undetermined(sizes: np.ndarray, found: np.ndarray) -> str:
    """Why the trials have no largest likelihood (Albert, Anderson, Biometrika 71, 1984), or ""."""
    count = len(found)
    if count < FEWEST:
        return f"{count} trials are too few: at least {FEWEST}, better {WANTED}, are needed"
    if found.all():
        share = math.floor(1000 * 0.05 ** (1 / count)) / 10
        return (
            f"all {count} were found: no size is hard enough to show a curve; at 95% confidence "
            f"{share:.1f}% or more of such defects are found"
        )
    if not found.any():
        most = math.ceil(1000 * (1 - 0.05 ** (1 / count))) / 10
        told = "no size is easy enough to show a curve; at 95% confidence"
        return f"all {count} were missed: {told} {most:.1f}% or less of such defects are found"
    hit, missed = sizes[found], sizes[~found]
    if sizes.min() == sizes.max():
        return "all are of one size: a curve needs several"
    if hit.min() == missed.max():
        return (
            f"only of {percent(hit.min())} some were found and some missed, none below and all "
            "above: a curve needs more such sizes"
        )
    if hit.min() > missed.max():
        return (
            f"all of {percent(missed.max())} and below were missed and all above found: the step "
            "lies there, and a curve needs sizes around it that are sometimes found"
        )
    if missed.min() >= hit.max():
        return "larger defects are not found more often than smaller ones"
    return ""


def _most_likely(
    design: np.ndarray, found: np.ndarray, offset: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method → parameters [P], observed information [P, P]. design: float [N, P]."""
    b = np.zeros(design.shape[1])
    value = _likelihood(design @ b + offset, found)
    for _ in range(STEPS):
        p = _expit(design @ b + offset)
        information = (design * (p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(information, design.T @ (found - p))
        while (new := _likelihood(design @ (b + step) + offset, found)) < value - EXACT:
            step = step / 2
        b, value = b + step, new
        if np.abs(step).max() < EXACT:
            break
    p = _expit(design @ b + offset)
    return b, (design * (p * (1 - p))[:, None]).T @ design


def _likelihood(eta: np.ndarray, found: np.ndarray) -> float:
    """Its logarithm, without overflow: Σ ln σ(±η)."""
    return -float(np.logaddexp(0, np.where(found, -eta, eta)).sum())


def _variance(covariance: np.ndarray, x: np.ndarray) -> np.ndarray:
    return covariance[0, 0] + 2 * covariance[0, 1] * x + covariance[1, 1] * x * x


def _quantile(sure: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(sure))


def _by_curvature(pod: Pod, target: float, z: float) -> float:
    """Where the lower bound of the curve reaches the target: a quadratic in ln size (Fieller)."""
    b0, b1, v = pod.intercept - target, pod.slope, pod.covariance
    square = b1 * b1 - z * z * v[1, 1]
    if square <= 0:
        return math.inf
    half, rest = b0 * b1 - z * z * v[0, 1], b0 * b0 - z * z * v[0, 0]
    found = (-half + math.sqrt(max(0.0, half * half - square * rest))) / square
    x = np.log(pod.sizes)
    return math.exp(found) if found < x.max() + FARTHEST * x.std() else math.inf


def _by_likelihood(pod: Pod, target: float, z: float) -> float:
    """The largest ln size where a curve through the target is likely enough."""
    x, found = np.log(pod.sizes), pod.found
    start, scale = (target - pod.intercept) / pod.slope, float(x.std())
    best = _likelihood(pod.intercept + pod.slope * x, found)

    def excess(at: float) -> float:
        b, _ = _most_likely((x - at)[:, None], found, target)
        return 2 * (best - _likelihood(target + b[0] * (x - at), found)) - z * z

    end = _bracket(excess, start, scale)
    from scipy.optimize import brentq

    return math.exp(brentq(excess, *end, xtol=1e-9 * scale)) if end else math.inf


def _bracket(
    excess: Callable[[float], float], start: float, step: float
) -> tuple[float, float] | None:
    """Two values between which the excess turns positive; None if it does not."""
    low, far = start, step / 8
    while far <= FARTHEST * step:
        if excess(start + far) > 0:
            return low, start + far
        low, far = start + far, 2 * far
    return None


def _expit(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit  # heavy, and a command may need no curve

    return expit(x)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
