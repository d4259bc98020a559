"""A patch out of focus and of another brightness, as wear, grease or a dent gives."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from fedpatchcore.planted.scene import Scene

__all__ = ["blurred"]

SIGMA = 0.12  # of the window's side
HALVINGS = 20


def blurred(scene: Scene) -> np.ndarray:
    """Blurred, and shifted by as much as the contrast leaves room for: float [h, w, 3]."""
    before = scene.before
    sigma = max(1.0, SIGMA * max(before.shape[:2]))
    soft = gaussian_filter(before, (sigma, sigma, 0), mode="nearest")
    if scene.change(soft) >= scene.contrast:
        return soft
    ground = before[scene.weight > 0].mean()
    lighter = scene.rng.random() < 0.5
    if min(ground, 255 - ground) < 2 * 255 * scene.contrast:
        lighter = ground < 127.5
    sign = 1.0 if lighter else -1.0
    low, high = 0.0, 255.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = scene.change(np.clip(soft + sign * middle, 0, 255)) >= scene.contrast
        low, high = (low, middle) if enough else (middle, high)
    return np.clip(soft + sign * high, 0, 255)
