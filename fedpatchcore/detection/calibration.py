"""Thresholds from normal images only, and what each is worth.

A threshold is the conformal quantile of scores of normal images that the bank which scored them
did not hold (Vovk et al., 2005): of n such scores the one of rank x = (n + 1)(1 − target), between
two ranks the straight line (fractional order statistics: Stigler, J. Amer. Stat. Assoc. 1977;
Hutson, J. Appl. Stat. 1999). A further normal image from the same conditions then exceeds it with
probability 1 − x/(n + 1) on average: exactly at whole ranks whatever the scores look like, and at
most so between two, where high scores get rarer the higher they are. With n images no rate
below 1/(n + 1) can be promised; then the largest score is used and the promise that does hold is
reported.

How far off the average this one threshold may be is told by its true rate, which is distributed
as Beta(n + 1 − x, x): `Threshold.low` and `high` are its 5% and 95% points. Images of one group
(shots of one part, one lot) count as one there: they may all be odd together. Of g groups the
rank is then at most g, the oddest group: for a new one nothing below 1/(g + 1) is sure.

Where do such scores come from? `fedpatchcore.detection.folds`: every image in turn is scored by
a bank without it (cross-conformal: Vovk, 2015; CV+: Barber et al., Ann. Stat. 2021). These
banks know a little less than the one in use, so the scores are a little high and the true rate
lies below: then no lower end is claimed (0). Or `hold_out`: a share of the images is never taught.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from fedpatchcore.errors import ConfigError
from fedpatchcore.metrics.promises import Promise

__all__ = ["Threshold", "calibrate", "hold_out"]

SURE = 0.05  # on either side of the interval
ODD = 0.1  # a threshold that one image moves by more than this share of it rests on that image


@dataclass(frozen=True)
class Threshold:
    """A decision threshold and what it promises.

    Attributes:
        value: an image with a score above it is called defective; NaN without any score.
        promised_fpr: expected share of further normal images above it (1.0 if NaN).
        images, groups: how many images it rests on, and groups of them that belong together.
        low, high: 90% interval of the true share, for this very threshold.
        new_group: share of images of a group above a threshold set without that group, on average
            over the groups; NaN where no two images belong together.
        without: the threshold if the image with the highest score were not there.
    """

    value: float
    promised_fpr: float
    images: int
    groups: int = 0
    low: float = 0.0
    high: float = 1.0
    new_group: float = math.nan
    without: float = math.nan

    @property
    def rests_on_one(self) -> bool:
        """Whether a single image decides where it lies."""
        return self.value - self.without > ODD * abs(self.value)

    def promise(self, folds: int = 0) -> Promise:
        """What it is worth; ``folds`` = 0: by hold-out."""
        return Promise(
            self.images,
            self.promised_fpr,
            self.low,
            self.high,
            self.groups,
            folds,
            self.new_group,
        )

    def told(self, folds: int) -> dict[str, float | int]:
        """What a bank's header keeps of it beside its value."""
        return self.promise(folds).told()

    def keeps(self, target_fpr: float) -> bool:
        """Whether the target could be promised."""
        return not self.promise().falls_short(target_fpr)


def hold_out(
    keys: Sequence[str], share: float, *, seed: int, groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """Choose which of n training images are set aside.

    Args:
        keys: one stable key an image (content hash); the choice depends on the set of keys
            and the seed, not on their order.
        share: of the images, rounded; at least one if it is positive and n ≥ 2.
        groups: images of one group (several shots of one part) go together, else held-out
            images would have twins in the bank and the threshold would be too low.

    Returns:
        bool ``[n]``, True where held out; never all of them.
    """
    count = len(keys)
    held = np.zeros(count, dtype=bool)
    if share <= 0 or count < 2:
        return held
    groups = list(keys) if groups is None else list(groups)
    members: dict[Hashable, list[int]] = {}
    for at in sorted(range(count), key=lambda i: keys[i]):
        members.setdefault(groups[at], []).append(at)
    if len(members) < 2:
        return held
    order = np.random.default_rng(seed).permutation(len(members))
    wanted = max(1, round(share * count))
    listed = list(members.values())
    for at in order[:-1]:
        if held.sum() >= wanted:
            break
        held[listed[at]] = True
    return held


def calibrate(
    scores: Sequence[float],
    target_fpr: float,
    *,
    groups: Sequence[Hashable] | None = None,
    by_folds: bool = False,
) -> Threshold:
    """The threshold for a target false-positive rate in (0, 1).

    Args:
        scores: of normal images by banks that did not hold them, ``[n]``.
        groups: of each image, ``[n]``; None: each is its own.
        by_folds: the banks that scored are poorer than the one in use: no lower end.

    Raises:
        ConfigError: the target does not lie between 0 and 1.
    """
    if not 0 < target_fpr < 1:
        raise ConfigError(f"target-fpr must lie between 0 and 1, got {target_fpr}")
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    if n == 0:
        return Threshold(math.nan, 1.0, 0)
    names = list(range(n)) if groups is None else list(groups)
    count = len(set(names))
    rank = _rank(n, target_fpr)
    promised = min(max(target_fpr, 1 / (n + 1)), n / (n + 1))
    level = 1 - max(promised, 1 / (count + 1))
    low, high = betaincinv((count + 1) * (1 - level), (count + 1) * level, (SURE, 1 - SURE))
    ordered = np.sort(values)
    return Threshold(
        _at(ordered, rank),
        promised,
        n,
        count,
        0.0 if by_folds else float(low),
        float(high),
        _new_group(values, names, target_fpr) if 1 < count < n else math.nan,
        _at(ordered[:-1], _rank(n - 1, target_fpr)) if n > 1 else math.nan,
    )


def _rank(n: int, target_fpr: float) -> float:
    """Place of the threshold among n scores in order, 1 to n; fractions lie between two."""
    return min(float(n), max(1.0, (n + 1) * (1 - target_fpr)))


def _at(ordered: np.ndarray, rank: float) -> float:
    below = math.floor(rank + 1e-9)
    above = min(below + 1, len(ordered))
    share = max(0.0, rank - below)
    return float((1 - share) * ordered[below - 1] + share * ordered[above - 1])


def _new_group(values: np.ndarray, names: Sequence[Hashable], target_fpr: float) -> float:
    """Share above the threshold of the other groups, on average over groups."""
    order = np.argsort(values)  # once: what is left of a sorted list is sorted
    ordered = values[order]
    numbers = np.unique([str(name) for name in names], return_inverse=True)[1][order]
    rates = []
    for group in range(numbers.max() + 1):
        mine = numbers == group
        others = ordered[~mine]
        limit = _at(others, _rank(len(others), target_fpr))
        rates.append(float((ordered[mine] > limit).mean()))
    return float(np.mean(rates))
