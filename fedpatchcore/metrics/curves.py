"""How well scores tell defective from good images, and anomaly maps defective from good pixels.

Labels are 1 (or True) for defective. Every metric is exact: all distinct scores are thresholds,
ties count half, nothing is binned. A metric that is undefined because one class is absent is
NaN, not an error.

Errors raised: `DataError` for lengths or shapes that do not match, labels other than 0 and 1, and
NaN scores; `ConfigError` for parameters out of range.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.metrics.spro import at_most_one, auc_spro, aupro, checked_maps

__all__ = [
    "auc_spro",
    "aupro",
    "average_precision",
    "f1_best",
    "image_auroc",
    "paired_bootstrap",
    "pixel_auroc",
    "roc_points",
]

NAN = float("nan")


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a defective image outscores a good one.

    Args:
        scores: float [N].
        labels: 0, 1 or bool [N].

    >>> image_auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    scores, labels = _checked(scores, labels)
    if labels.all() or not labels.any():
        return NAN
    return _auroc(scores[~labels], scores[labels])


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision Σ (Rₙ − Rₙ₋₁) Pₙ over all distinct thresholds, without interpolation.

    Args:
        scores: float [N].
        labels: 0, 1 or bool [N].

    >>> round(average_precision([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]), 4)
    0.8333
    """
    scores, labels = _checked(scores, labels)
    if labels.all() or not labels.any():
        return NAN
    _, true, false = _counts(scores, labels)
    recall, precision = true / true[-1], true / (true + false)
    return at_most_one(np.diff(recall, prepend=0.0) @ precision)


def pixel_auroc(
    maps: np.ndarray | Sequence[np.ndarray], masks: np.ndarray | Sequence[np.ndarray]
) -> float:
    """Area under the ROC curve over all pixels of all images.

    Holds one copy of all pixels (in the maps' dtype) besides its arguments.

    Args:
        maps: float [N, H, W], or N arrays [H, W] of any sizes.
        masks: bool, shaped as the maps; True = defect.
    """
    maps, masks = checked_maps(maps, masks)
    good = np.concatenate([map_[~mask] for map_, mask in zip(maps, masks, strict=True)])
    bad = np.concatenate([map_[mask] for map_, mask in zip(maps, masks, strict=True)])
    return _auroc(good, bad)


def f1_best(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Largest F1 over all thresholds → (F1, threshold); of equals the highest threshold.

    An upper bound for reports. It looks at the labels: never operate at this threshold.

    Args:
        scores: float [N].
        labels: 0, 1 or bool [N].
    """
    scores, labels = _checked(scores, labels)
    thresholds, true, false = _counts(scores, labels)
    if not true[-1] or not false[-1]:
        return NAN, NAN
    f1 = 2 * true / (true + false + true[-1])
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def roc_points(
    scores: ArrayLike, labels: ArrayLike, grid: int = 101
) -> tuple[np.ndarray, np.ndarray]:
    """ROC curve on an even grid → (false-positive rates [grid], true-positive rates [grid]).

    Linear between the exact vertices; where the curve rises vertically, the upper end. A fixed
    size, so that sites can ship and average curves.

    Args:
        scores: float [N].
        labels: 0, 1 or bool [N].
        grid: number of points ≥ 2, from 0 to 1.

    Returns:
        The second array is all NaN if a class is absent.
    """
    if grid < 2:
        raise ConfigError(f"grid of an ROC curve must be 2 or more, got {grid}")
    scores, labels = _checked(scores, labels)
    _, true, false = _counts(scores, labels)
    x = np.linspace(0.0, 1.0, grid)
    if not true[-1] or not false[-1]:
        return x, np.full(grid, NAN)
    fpr = np.concatenate([[0.0], false / false[-1]])
    tpr = np.concatenate([[0.0], true / true[-1]])
    left = np.searchsorted(fpr, x, side="right") - 1
    right = np.minimum(left + 1, len(fpr) - 1)
    step = np.where(right > left, fpr[right] - fpr[left], 1.0)
    y = tpr[left] + (tpr[right] - tpr[left]) * (x - fpr[left]) / step
    return x, np.minimum(y, 1.0)


def paired_bootstrap(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUROC of a minus AUROC of b on the same images → (difference, low, high), 95% interval.

    Percentile bootstrap (Efron, Tibshirani, 1993, section 13.3) that draws whole groups with
    replacement, for images of one part are no independent evidence. With few groups (under 20,
    say) the interval is too narrow. Draws in which a class is absent are left out.

    Args:
        labels: 0, 1 or bool [N].
        scores_a, scores_b: float [N] of the two detectors.
        groups: N group names; None: each image by itself.
        n: number of draws ≥ 1.
        seed: ≥ 0.

    Returns:
        All NaN if a class is absent; NaN bounds with fewer than two groups.
    """
    if n < 1 or seed < 0:
        raise ConfigError(f"bootstrap needs n of 1 or more and seed of 0 or more, got {n}, {seed}")
    scores_a, labels = _checked(scores_a, labels)
    scores_b, _ = _checked(scores_b, labels)
    group = _group_numbers(groups, len(labels))
    if labels.all() or not labels.any():
        return NAN, NAN, NAN
    ranks = [np.unique(scores, return_inverse=True)[1] for scores in (scores_a, scores_b)]
    ones = np.ones(len(labels))
    difference = _weighted_auroc(ranks[0], labels, ones) - _weighted_auroc(ranks[1], labels, ones)
    count = int(group.max()) + 1
    if count < 2:
        return difference, NAN, NAN
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        weights = np.bincount(rng.integers(count, size=count), minlength=count)[group]
        if weights[labels].any() and weights[~labels].any():
            a, b = (_weighted_auroc(rank, labels, weights) for rank in ranks)
            draws.append(a - b)
    if not draws:
        return difference, NAN, NAN
    low, high = np.quantile(draws, [0.025, 0.975])
    return difference, float(low), float(high)


def _auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """Mann-Whitney U of two samples over the number of pairs; sorts `good` in place."""
    if not good.size or not bad.size:
        return NAN
    good.sort()
    below = np.searchsorted(good, bad, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(good, bad, side="right").sum(dtype=np.int64)
    return (int(below) + int(not_above)) / (2 * good.size * bad.size)


def _weighted_auroc(rank: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """AUROC with each image counted `weights` times; rank: int [N], equal for equal scores."""
    good = np.bincount(rank, weights=weights * ~labels)
    bad = np.bincount(rank, weights=weights * labels)
    below = np.cumsum(good) - good / 2
    return float(bad @ below / (bad.sum() * good.sum()))


def _counts(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores from high to low, and how many bad and good score at least that much."""
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    true = np.cumsum(labels)[last]
    return scores[last], true, last + 1 - true


def _group_numbers(groups: Sequence[Hashable] | None, size: int) -> np.ndarray:
    """Group names → int [N] from 0."""
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise DataError(f"{len(groups)} groups for {size} images; give one per image")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in groups])


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """→ float64 [N], bool [N]."""
    scores, labels = _checked_scores(scores), np.asarray(labels)
    if labels.shape != scores.shape:
        raise DataError(f"{scores.size} scores but labels of shape {labels.shape}; give one each")
    if not scores.size:
        raise DataError("no scores to measure; give at least one")
    if not np.isin(labels, (0, 1)).all():
        raise DataError("labels must be 0 (good) or 1 (defective)")
    return scores, labels.astype(np.bool_)


def _checked_scores(scores: ArrayLike) -> np.ndarray:
    """→ float64 [N] without NaN."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise DataError(f"scores must be a list of numbers, got shape {scores.shape}")
    if np.isnan(scores).any():
        raise DataError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    return scores
