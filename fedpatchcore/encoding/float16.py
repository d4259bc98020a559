"""Half precision under one power of two a section: 11 significant bits a value.

Encoding what was decoded gives the same values again (down to 2^-40 of the largest), so a bank
that is sent on loses nothing more.
"""

from __future__ import annotations

import math

import numpy as np

from fedpatchcore.encoding.frame import squeeze, unsqueeze

__all__ = ["SHARED", "decode", "encode", "shapes"]

SHARED = 1  # leading arrays that belong to all rows; in the others a row is the last axis
TOP = 2.0**15  # the largest value is brought to here; half precision ends at 65,504


def shapes(count: int, dimension: int) -> list[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array of a payload."""
    return [("<i4", (1,)), ("<f2", (dimension, count))]


def encode(rows: np.ndarray, *, seed: int) -> np.ndarray:
    """Payload of float32 ``[k, D]``."""
    largest = float(np.abs(rows).max(initial=0.0))
    exponent = math.frexp(largest / TOP)[1] if largest else 0
    halves = np.ldexp(rows, -exponent).astype("<f2")
    return squeeze(np.array([exponent], "<i4"), halves.T)


def decode(payload: np.ndarray, count: int, dimension: int) -> np.ndarray:
    """Inverse of `encode`. Raises ValueError."""
    (exponent,), halves = unsqueeze(payload, shapes(count, dimension))
    if abs(int(exponent)) > 200:
        raise ValueError(f"a scale of 2^{exponent}")
    with np.errstate(all="ignore"):
        return np.ldexp(np.ascontiguousarray(halves.T, dtype=np.float32), int(exponent))
