"""How far values scatter, told without the few that lie apart (Iglewicz & Hoaglin, 1993)."""

from __future__ import annotations

import numpy as np

__all__ = ["robust_sigma"]

NORMAL = 1.4826  # median deviation → standard deviation of a normal distribution


def robust_sigma(values: np.ndarray) -> float:
    """Standard deviation of values ``[n]``, n ≥ 1, from their median deviation."""
    return NORMAL * float(np.median(np.abs(values - np.median(values))))
