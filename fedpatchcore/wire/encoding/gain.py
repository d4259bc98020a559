"""Gain and shape: a row's length travels beside its direction.

Quantised coordinates give a direction; scaling it to the row's own length brings it back onto
the sphere the row came from (gain-shape quantisation: Gersho & Gray, "Vector Quantization and
Signal Compression", 1992, section 12.10). Rows of unit norm per layer keep the norm that the
server's checks ask for.
"""

from __future__ import annotations

import numpy as np

__all__ = ["lengths", "scaled_to"]

KEPT_BITS = 13  # of a norm's mantissa: 6e-5 of its size, and equal norms stay equal
ROWS_A_BLOCK = 8192
MOST = 2.0


def lengths(rows: np.ndarray) -> np.ndarray:
    """L2 norm of each row, float32 ``[k]``, rounded to `KEPT_BITS` bits."""
    blocks = range(0, len(rows), ROWS_A_BLOCK)
    found = [np.linalg.norm(rows[i : i + ROWS_A_BLOCK].astype(np.float64), axis=1) for i in blocks]
    mantissa, exponent = np.frexp(np.concatenate(found))
    steps = 2.0 ** (KEPT_BITS + 1)
    return np.ldexp(np.rint(mantissa * steps) / steps, exponent).astype(np.float32)


def scaled_to(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Each row scaled, in place, to its norm; one of less than half of it stays. ValueError."""
    if not (np.isfinite(norms).all() and (norms >= 0).all()):
        raise ValueError("a norm that is negative or not finite")
    with np.errstate(all="ignore"):  # what overflows here is refused as infinite later
        for at in range(0, len(rows), ROWS_A_BLOCK):
            block = rows[at : at + ROWS_A_BLOCK]
            have = np.linalg.norm(block.astype(np.float64), axis=1)
            factor = norms[at : at + ROWS_A_BLOCK] / np.where(have > 0, have, 1.0)
            # of a row that was too short for its columns' steps no direction is left to stretch
            factor[factor > MOST] = 1.0
            block *= factor[:, None].astype(np.float32)
    return rows
