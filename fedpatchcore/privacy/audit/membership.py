"""Membership: does a bank tell which images are behind it?

An attack that finds members shows what leaks; one that fails proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import ConfigError
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.privacy.audit.intervals import rates_at_least, rates_at_most

__all__ = ["Membership", "Rate", "attack_scores", "image_statistics", "membership"]


@dataclass(frozen=True)
class Rate:
    """How many members an attacker finds when he may accuse so few others wrongly.

    Attributes:
        false_positive: the rate of wrong accusations asked for.
        true_positive: share of the members found; NaN if ``reason`` says why it is unknown.
        low, high: its Clopper–Pearson interval.
    """

    false_positive: float
    true_positive: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class Membership:
    """An attack's AUROC (0.5 is guessing), its interval (Hanley & McNeil, 1982) and its rates."""

    auroc: float
    low: float
    high: float
    rates: tuple[Rate, ...]
    members: int
    others: int
    confidence: float


def membership(
    members: np.ndarray,
    others: np.ndarray,
    rates: Sequence[float] = (0.001, 0.01),
    *,
    confidence: float = 0.95,
) -> Membership:
    """How well scores ``[n]`` of members stand out from scores ``[m]`` of others; high = member.

    What counts is the few images found with near certainty, not the average (Carlini et al.,
    "Membership inference attacks from first principles", S&P 2022). A rate that not even one of
    the others stands for cannot be measured: 0.1% needs 1,000 of them.

    Raises:
        ConfigError: no scores on one side, or scores that are not finite.
    """
    for scores in (members, others):
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ConfigError(f"membership needs finite scores of both kinds, got {scores}")
    n, m = len(members), len(others)
    auroc = image_auroc(np.concatenate([members, others]), np.repeat([1, 0], [n, m]))
    one, two = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (n - 1) * (one - auroc**2) + (m - 1) * (two - auroc**2)
    reach = -ndtri((1 - confidence) / 2) * math.sqrt(max(variance, 0.0) / (n * m))
    found = tuple(_rate(members, np.sort(others), r, confidence) for r in rates)
    low, high = max(0.0, auroc - reach), min(1.0, auroc + reach)
    return Membership(auroc, low, high, found, n, m, confidence)


def _rate(members: np.ndarray, others: np.ndarray, rate: float, confidence: float) -> Rate:
    n, m = len(members), len(others)
    allowed = math.floor(rate * m + 1e-9)
    if not allowed:
        needed = math.ceil(1 / rate - 1e-9)
        why = f"{rate:.1%} of wrong accusations needs {needed:,} other images, not {m:,}"
        return Rate(rate, math.nan, 0.0, 1.0, why)
    hits = int((members > others[-1 - allowed]).sum()) if allowed < m else n
    alpha = (1 - confidence) / 2
    return Rate(
        rate, hits / n, float(rates_at_least(n, alpha)[hits]), float(rates_at_most(n, alpha)[hits])
    )


def image_statistics(bank: NearestNeighbours, patches: np.ndarray) -> np.ndarray:
    """How near an image's patches ``[P, D]`` come to a bank: nearest and mean, float64 ``[2]``.

    One patch at distance zero gives an image away; the mean is what is left to see when rows
    are averages. Quantiles between the two and beyond told less on real images.
    """
    distances = bank.search(patches)[0][:, 0]
    return np.array([distances.min(), distances.mean()], dtype=np.float64)


def attack_scores(found: np.ndarray, reference: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Scores ``[n]`` of each attack from `image_statistics` ``[n, 2]``; high = member.

    With the same statistics in a *reference* bank made of other images, the difference is a
    likelihood ratio with one shadow model (Carlini et al., 2022, section V): an image may be
    near to any bank because it is ordinary.
    """
    scores = dict(zip(("nearest patch", "mean patch"), -found.T, strict=True))
    if reference is not None:
        gains = (reference - found).T
        scores |= dict(zip(("nearest, calibrated", "mean, calibrated"), gains, strict=True))
    return scores
