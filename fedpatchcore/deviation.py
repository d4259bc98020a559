"""A few values told without the ones that lie apart: their middle, their scatter, their end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["all_but", "middle", "robust_sigma"]

NORMAL = 1.4826  # median deviation → standard deviation of a normal distribution


def robust_sigma(values: np.ndarray) -> float:
    """Standard deviation of values ``[n]``, n ≥ 1, from their median deviation.

    Iglewicz & Hoaglin, "How to Detect and Handle Outliers", ASQC 1993.
    """
    return NORMAL * float(np.median(np.abs(values - np.median(values))))


def middle(values: Sequence[float], tolerated: int = 0) -> float:
    """The lower median; of too few values for one, the (f + 1)-th largest, f = ``tolerated``.

    Of n ≥ 2f + 1 values, f of them arbitrary, the i-th smallest lies within the range of the
    others for every f < i ≤ n − f, and the lower median is one of these. Of fewer none is held from
    both sides: this one cannot be raised, and of f values or fewer it is the smallest.
    """
    ranked = sorted(values)
    return ranked[max(0, min((len(ranked) - 1) // 2, len(ranked) - 1 - tolerated))]


def all_but(values: Sequence[float], tolerated: int) -> float:
    """The (f + 1)-th largest value: f = ``tolerated`` arbitrary ones cannot raise it.

    At least one of the f + 1 largest is honest, and of n ≥ 2f + 1 values it lies no lower than
    the (f + 1)-th largest of the honest ones. Of f values or fewer the smallest.
    """
    return sorted(values)[max(0, len(values) - 1 - tolerated)]
