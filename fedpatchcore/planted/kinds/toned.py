"""Darker, lighter or tinted than what it lies on: thin scars and blended blobs."""

from __future__ import annotations

import numpy as np

from fedpatchcore.planted.scene import Scene

__all__ = ["scarred", "stained"]

TINT = 0.35  # how far the channels of a stain part


def scarred(scene: Scene) -> np.ndarray:
    """A scratch, black or white at full strength: float [h, w, 3]."""
    return np.full_like(scene.before, 255.0 * _lighter(scene))


def stained(scene: Scene) -> np.ndarray:
    """A blob, which lets what lies below show through: float [h, w, 3].

    In a coloured picture it has a tint, in a grey one none.
    """
    tone = np.full(3, 255.0 * _lighter(scene))
    if _coloured(scene.picture):
        tone = np.abs(tone - 255 * TINT * scene.rng.random(3))
    return np.broadcast_to(tone, scene.before.shape)


def _lighter(scene: Scene) -> bool:
    """Whether it is lighter than its ground: by chance, where the ground leaves room for both."""
    ground = scene.before[scene.weight > 0].mean() / 255
    room = 2 * scene.contrast
    if min(ground, 1 - ground) < room:
        return bool(ground < 0.5)
    return bool(scene.rng.random() < 0.5)


def _coloured(picture: np.ndarray) -> bool:
    some = picture[:: max(1, picture.shape[0] // 64), :: max(1, picture.shape[1] // 64)]
    return bool(np.ptp(some.astype(np.int16), axis=2).mean() > 4)
