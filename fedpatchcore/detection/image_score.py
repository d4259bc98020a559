"""From the scores of a picture's patches to the picture's own.

The largest of them (PatchCore, section 3.3), or the mean of the largest few: a share of the grid,
as AnomalyDINO takes 1% (Damm et al., WACV 2025). A mean hangs less on a single odd patch; what is
smaller than the share it thins out.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.errors import ConfigError

__all__ = ["MILLION", "highest", "image_scores", "share_of", "told_share"]

MILLION = 1_000_000


def share_of(text: str) -> int:
    """``"max"`` → 0, ``"1%"`` or ``"0.01"`` → 10,000 millionths. Raises ConfigError for others."""
    word = text.strip()
    if word == "max":
        return 0
    try:
        number = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        number = float("nan")
    found = round(MILLION * number) if 0 < number <= 1 else 0
    if not found:
        raise ConfigError(f"image-score: max, or a share of the grid such as 1%, got '{text}'")
    return found


def told_share(top: int) -> str:
    """Inverse of `share_of`: ``"1%"``."""
    return f"{100 * top / MILLION:g}%" if top else "max"


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
