"""What an attacker really learns: lower bounds on ε, membership, copied patches.

A proof gives an upper bound on ε and may be wrong, or its code may be. An attack gives a lower
bound, and a lower bound above the claim refutes it. The reverse does not hold: an attack that
fails proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betaincinv, ndtri

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import ConfigError
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.privacy.accounting import gaussian_epsilon

__all__ = [
    "EpsilonBound",
    "Membership",
    "Rate",
    "Reconstruction",
    "attack_scores",
    "epsilon_lower_bound",
    "image_statistics",
    "membership",
    "reconstruction",
]

PICK = 1e-4  # level at which a threshold is chosen: strict, or luck far out in a tail wins
COPY = 0.01  # a row nearer than this share of the usual distance is a copy of a patch


@dataclass(frozen=True)
class EpsilonBound:
    """With ``confidence``, the true ε at ``delta`` is at least ``epsilon``.

    Attributes:
        epsilon: the lower bound; 0 says that nothing was found.
        ceiling: what a perfect attack would have shown with so many runs, never more.
        threshold: "the image was in" is the verdict at this score or above.
        true_positive_low: lower confidence bound of how often that is said rightly.
        false_positive_high: upper confidence bound of how often it is said wrongly.
        runs: with the image and without it; the second half of each was counted.
        gaussian: whether it was assumed that the mechanism adds Gaussian noise.
    """

    epsilon: float
    ceiling: float
    threshold: float
    true_positive_low: float
    false_positive_high: float
    runs: tuple[int, int]
    delta: float
    confidence: float
    gaussian: bool = False


def epsilon_lower_bound(
    with_canary: np.ndarray,
    without: np.ndarray,
    *,
    delta: float,
    confidence: float = 0.95,
    gaussian: bool = False,
) -> EpsilonBound:
    """ε that independent runs on two neighbouring data sets refute.

    (ε, δ) bounds every test: TPR ≤ e^ε FPR + δ and TNR ≤ e^ε FNR + δ (Kairouz, Oh & Viswanath,
    ICML 2015), so ε ≥ log((TPR − δ)/FPR) and ε ≥ log((TNR − δ)/FNR). The threshold is chosen on
    the first half of the runs; on the second half TPR and FPR each get a one-sided
    Clopper–Pearson bound at (1 − confidence)/2, which both inequalities share (Jagielski, Ullman
    & Oprea, NeurIPS 2020; Nasr et al., S&P 2021).

    That is weak for Gaussian noise, whose ε at a small δ is earned far out in a tail where few
    runs fall. With ``gaussian`` the claim under test is "this is the Gaussian mechanism with that
    multiplier": the same two rates bound μ ≥ Φ⁻¹(TPR) − Φ⁻¹(FPR), and ε is read from μ (Nasr et
    al., "Tight auditing of differentially private machine learning", USENIX Security 2023).

    Args:
        with_canary: score of each run with the image, float ``[n]``; high = "it was in".
        without: score of each run without it, float ``[m]``.

    Raises:
        ConfigError: fewer than two runs, scores that are not finite, or a level outside (0, 1).
    """
    if not (0 < confidence < 1 and 0 <= delta < 1):
        raise ConfigError(f"an audit at confidence {confidence} and delta {delta}")
    for scores in (with_canary, without):
        if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
            raise ConfigError(f"an audit needs two runs or more with finite scores, got {scores}")
    alpha = (1 - confidence) / 2
    first_in, second_in = np.array_split(with_canary, 2)
    first_out, second_out = np.array_split(without, 2)
    threshold = _best_threshold(first_in, first_out, min(alpha, PICK), delta, gaussian)
    tpr, fpr = _rates(second_in, second_out, np.array([threshold]), alpha)
    best_tpr, best_fpr = _lower(len(second_in), alpha)[-1], _upper(len(second_out), alpha)[0]
    evidence = _evidence(np.append(tpr, best_tpr), np.append(fpr, best_fpr), delta, gaussian)
    epsilon, ceiling = (_epsilon(float(e), delta, gaussian) for e in evidence)
    runs = (len(with_canary), len(without))
    rates = (float(tpr[0]), float(fpr[0]))
    return EpsilonBound(epsilon, ceiling, threshold, *rates, runs, delta, confidence, gaussian)


def _best_threshold(
    inside: np.ndarray, outside: np.ndarray, alpha: float, delta: float, gaussian: bool
) -> float:
    """Of all midpoints between scores, the one that shows most."""
    values = np.unique(np.concatenate([inside, outside]))
    middles = (values[1:] + values[:-1]) / 2
    if not len(middles):  # all scores equal
        return float(values[0])
    evidence = _evidence(*_rates(inside, outside, middles, alpha), delta, gaussian)
    return float(middles[evidence.argmax()])


def _rates(
    inside: np.ndarray, outside: np.ndarray, thresholds: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower bound of the TPR and upper bound of the FPR at each threshold."""
    hits, alarms = (len(s) - np.searchsorted(np.sort(s), thresholds) for s in (inside, outside))
    return _lower(len(inside), alpha)[hits], _upper(len(outside), alpha)[alarms]


def _evidence(tpr: np.ndarray, fpr: np.ndarray, delta: float, gaussian: bool) -> np.ndarray:
    """ε, or μ for Gaussian noise; at or below 0 where there is none."""
    if gaussian:
        return ndtri(tpr) - ndtri(fpr)
    tiny = np.finfo(float).tiny
    there = np.log(np.maximum(tpr - delta, tiny) / fpr)
    back = np.log(np.maximum(1 - fpr - delta, tiny) / np.maximum(1 - tpr, tiny))
    return np.maximum(there, back)


def _epsilon(evidence: float, delta: float, gaussian: bool) -> float:
    if not evidence > 0:
        return 0.0
    return gaussian_epsilon(1 / evidence, delta) if gaussian else evidence


@lru_cache(maxsize=16)
def _lower(n: int, alpha: float) -> np.ndarray:
    """One-sided lower bounds of a rate for 0..n successes (Clopper & Pearson, 1934)."""
    k = np.arange(1, n + 1)
    return np.append(0.0, betaincinv(k, n - k + 1, alpha))


def _upper(n: int, alpha: float) -> np.ndarray:
    return 1 - _lower(n, alpha)[::-1]


# -- membership ----------------------------------------------------------------------


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
    return Rate(rate, hits / n, float(_lower(n, alpha)[hits]), float(_upper(n, alpha)[hits]))


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


# -- reconstruction ------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstruction:
    """How far bank rows are from the patches of the images behind them.

    Attributes:
        copies: share of the rows that are a member's patch, to within `COPY` of ``usual``.
        ratio: median distance of a row to the nearest member patch, over ``usual``.
        usual: median distance of a *fresh* patch (of an image that was not used) to the nearest
            member patch; a ratio far below 1 says that rows know more than resemblance.
    """

    copies: float
    ratio: float
    usual: float
    rows: int


def reconstruction(
    rows: np.ndarray, members: Iterable[np.ndarray], fresh: np.ndarray
) -> Reconstruction:
    """Is a bank row a training patch? Rows ``[M, D]``, patches ``[P, D]`` of each member image.

    Args:
        fresh: ``[F, D]`` patches of images that are not among the members: the yardstick.

    Raises:
        ConfigError: no rows, no members or no yardstick.
    """
    if not len(rows) or not len(fresh):
        raise ConfigError("reconstruction needs bank rows, and patches of images not behind them")
    queries = np.concatenate([rows, fresh]).astype(np.float32)
    nearest = np.full(len(queries), np.inf)
    for patches in members:
        distances, at = NearestNeighbours(patches).search(queries)
        better = np.flatnonzero(distances[:, 0] < nearest)
        # FAISS loses digits near zero: the distances that count are taken by differences
        gaps = queries[better].astype(np.float64) - patches[at[better, 0]]
        nearest[better] = np.minimum(nearest[better], np.linalg.norm(gaps, axis=1))
    if not np.isfinite(nearest).all():
        raise ConfigError("reconstruction needs the patches of one member image or more")
    own, usual = nearest[: len(rows)], float(np.median(nearest[len(rows) :]))
    ratio = float(np.median(own)) / usual if usual > 0 else math.nan
    return Reconstruction(float((own <= COPY * usual).mean()), ratio, usual, len(rows))
