"""A piece of the same picture in a place where it does not belong.

After CutPaste (Li, Sohn, Yoon, Pfister, CVPR 2021), with an outline that is no rectangle.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.planted.places import where
from fedpatchcore.planted.scene import Scene

__all__ = ["pasted"]

TRIES = 12  # pieces, of which the one that comes closest to the contrast is taken


def pasted(scene: Scene) -> np.ndarray:
    """The piece as it is pasted, turned by a multiple of 90° or mirrored: float [h, w, 3]."""
    found, best = scene.before, -np.inf
    for _ in range(TRIES):
        top, left = where(scene.rng, scene.chance, scene.picture, scene.weight.shape)
        height, width = scene.weight.shape
        piece = scene.picture[top : top + height, left : left + width].astype(np.float64)
        if height == width:
            piece = np.rot90(piece, scene.rng.integers(4))
        if scene.rng.random() < 0.5:
            piece = piece[:, ::-1]
        change = scene.change(piece)
        # enough of it is best; of too little, the most
        fit = -abs(change - scene.contrast) if change >= scene.contrast else change - 1
        if fit > best:
            found, best = piece, fit
    return found
