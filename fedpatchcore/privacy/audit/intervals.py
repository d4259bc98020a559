"""Confidence bounds of a rate that was counted (Clopper & Pearson, 1934)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import betaincinv

__all__ = ["rates_at_least", "rates_at_most"]


@lru_cache(maxsize=16)
def rates_at_least(n: int, alpha: float) -> np.ndarray:
    """One-sided lower bounds of a rate for 0..n successes."""
    k = np.arange(1, n + 1)
    return np.append(0.0, betaincinv(k, n - k + 1, alpha))


def rates_at_most(n: int, alpha: float) -> np.ndarray:
    """One-sided upper bounds of a rate for 0..n successes."""
    return 1 - rates_at_least(n, alpha)[::-1]
