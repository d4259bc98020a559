"""One power of two for all values, so that half precision spends its bits on their digits."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["scaled_back", "scaled_down"]

TOP = 2.0**15  # the largest value is brought to here; half precision ends at 65,504
LARGEST_EXPONENT = 200


def scaled_down(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exponent as it travels, ``<i4 [1]``, and float32 values over two to that power."""
    largest = float(np.abs(values).max(initial=0.0))
    exponent = math.frexp(largest / TOP)[1] if largest else 0
    return np.array([exponent], "<i4"), np.ldexp(values, -exponent)


def scaled_back(values: np.ndarray, exponent: int) -> np.ndarray:
    """Inverse of `scaled_down`, float32. Raises ValueError for an exponent that none can have."""
    if abs(int(exponent)) > LARGEST_EXPONENT:
        raise ValueError(f"a scale of 2^{exponent}")
    with np.errstate(all="ignore"):
        return np.ldexp(values.astype(np.float32), int(exponent))
