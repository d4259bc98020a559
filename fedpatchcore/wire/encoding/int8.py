"""256 even steps from each column's smallest to its largest value.

Columns have their own range: a network's channels differ by orders of magnitude, and one range
for all would spend its steps on the loudest.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.wire.encoding.frame import squeeze, unsqueeze
from fedpatchcore.wire.encoding.gain import lengths, scaled_to

__all__ = ["SHARED", "decode", "encode", "shapes"]

SHARED = 2  # leading arrays that belong to all rows; in the others a row is the last axis
STEPS = 255


def shapes(count: int, dimension: int) -> list[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array of a payload."""
    each = ("<f4", (dimension,))
    return [each, each, ("<f4", (count,)), ("u1", (dimension, count))]


def encode(rows: np.ndarray, *, seed: int) -> np.ndarray:
    """Payload of float32 ``[k, D]``."""
    low = rows.min(0).astype("<f4")
    step = ((rows.max(0).astype(np.float64) - low) / STEPS).astype("<f4")
    codes = np.rint((rows - low) / np.where(step > 0, step, 1)).clip(0, STEPS).astype(np.uint8)
    return squeeze(low, step, lengths(rows), codes.T)


def decode(payload: np.ndarray, count: int, dimension: int) -> np.ndarray:
    """Inverse of `encode`. Raises ValueError."""
    low, step, norms, codes = unsqueeze(payload, shapes(count, dimension))
    if not (np.isfinite(low).all() and np.isfinite(step).all() and (step >= 0).all()):
        raise ValueError("a column's range is not finite")
    rows = np.ascontiguousarray(codes.T, dtype=np.float32)
    with np.errstate(all="ignore"):
        rows *= step
        rows += low
    return scaled_to(rows, norms)
