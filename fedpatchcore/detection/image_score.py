"""From the scores of a picture's patches to the picture's own.

The largest of them (PatchCore, section 3.3), or the mean of the largest few: a share of the grid,
as AnomalyDINO takes 1% (Damm et al., WACV 2025). A mean hangs less on a single odd patch; what is
smaller than the share it thins out.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.detection.share import MILLION

__all__ = ["highest", "image_scores"]


def highest(patches: int, top: int) -> int:
    """How many of so many patches a share in millionths is, one at least."""
    return max(1, round(top * patches / MILLION))


def image_scores(patches: np.ndarray, top: int = 0) -> np.ndarray:
    """Patch scores ``[B, P]`` → image scores float64 ``[B]``.

    Args:
        top: millionths of the patches whose mean it is; 0: the largest alone.
    """
    if not top:
        return patches.max(1).astype(np.float64)
    count = highest(patches.shape[1], top)
    largest = np.partition(patches, patches.shape[1] - count, axis=1)[:, -count:]
    return np.sort(largest, axis=1).mean(1, dtype=np.float64)  # one order, one sum
