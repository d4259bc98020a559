"""Half precision under one power of two a section: 11 significant bits a value.

Encoding what was decoded gives the same values again (down to 2^-40 of the largest), so a bank
that is sent on loses nothing more.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.wire.encoding.frame import squeeze, unsqueeze
from fedpatchcore.wire.encoding.power import scaled_back, scaled_down

__all__ = ["SHARED", "decode", "encode", "shapes"]

SHARED = 1  # leading arrays that belong to all rows; in the others a row is the last axis


def shapes(count: int, dimension: int) -> list[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array of a payload."""
    return [("<i4", (1,)), ("<f2", (dimension, count))]


def encode(rows: np.ndarray, *, seed: int) -> np.ndarray:
    """Payload of float32 ``[k, D]``."""
    exponent, values = scaled_down(rows)
    return squeeze(exponent, values.astype("<f2").T)


def decode(payload: np.ndarray, count: int, dimension: int) -> np.ndarray:
    """Inverse of `encode`. Raises ValueError."""
    (exponent,), halves = unsqueeze(payload, shapes(count, dimension))
    return scaled_back(np.ascontiguousarray(halves.T), exponent)
