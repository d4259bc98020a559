"""A piece that is not there: what lies behind shows, or a hole."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from fedpatchcore.planted.places import backdrop
from fedpatchcore.planted.scene import Scene

__all__ = ["missing"]


def missing(scene: Scene) -> np.ndarray:
    """The backdrop with the grain of the picture: float [h, w, 3]."""
    before = scene.before
    grain = before - gaussian_filter(before, (1.0, 1.0, 0), mode="nearest")
    noise = float(np.median(np.abs(grain))) * 1.4826
    full = backdrop(scene.picture) + scene.rng.normal(0, noise, before.shape[:2])[..., None]
    return np.clip(full, 0, 255)
