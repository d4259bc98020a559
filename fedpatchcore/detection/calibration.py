"""Thresholds from normal images only.

Each site sets a seeded share of its normal training images aside; they never enter a
coreset, so their scores are those of normal images the bank has not seen. The threshold is
the split-conformal quantile of these scores (Vovk et al., 2005; Lei et al., JASA 2018): a
further normal image from the same conditions exceeds it with probability at most
``target_fpr``. With n images held out no rate below 1/(n + 1) can be promised; then the
largest held-out score is used and the promise that does hold is reported.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import ConfigError

__all__ = ["Threshold", "calibrate", "hold_out"]


@dataclass(frozen=True)
class Threshold:
    """A decision threshold and what it promises.

    Attributes:
        value: an image with a score above it is called defective; NaN if nothing was held out.
        promised_fpr: largest expected share of normal images above it (1.0 if NaN).
        images: how many held-out images it rests on.
    """

    value: float
    promised_fpr: float
    images: int


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


def calibrate(scores: Sequence[float], target_fpr: float) -> Threshold:
    """Split-conformal threshold for a target false-positive rate in (0, 1)."""
    if not 0 < target_fpr < 1:
        raise ConfigError(f"target-fpr must lie between 0 and 1, got {target_fpr}")
    values = np.sort(np.asarray(scores, dtype=np.float64))
    n = len(values)
    if n == 0:
        return Threshold(math.nan, 1.0, 0)
    rank = min(n, math.ceil((n + 1) * (1 - target_fpr) - 1e-9))
    rank = max(1, rank)
    return Threshold(float(values[rank - 1]), 1 - rank / (n + 1), n)
