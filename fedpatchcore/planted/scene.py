"""What a kind of defect is made from, and how strongly it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Scene", "drawn"]


@dataclass(frozen=True)
class Scene:
    """A picture and the place in it.

    Attributes:
        picture: uint8 [H, W, 3], not to be written to.
        weight: float [h, w] in [0, 1], the defect's outline.
        top, left: of its window.
        contrast: asked for, see `drawn`.
        chance: see `fedpatchcore.planted.places.structure`.
    """

    picture: np.ndarray
    weight: np.ndarray
    top: int
    left: int
    contrast: float
    chance: np.ndarray
    rng: np.random.Generator

    @property
    def window(self) -> tuple[slice, slice]:
        """Of the picture."""
        height, width = self.weight.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def before(self) -> np.ndarray:
        """The window as it is: float64 [h, w, 3]."""
        return self.picture[self.window].astype(np.float64)

    def change(self, full: np.ndarray) -> float:
        """Mean absolute change inside the outline if it is drawn so, of the full range."""
        inside = self.weight > 0
        step = self.weight[..., None] * (full - self.before)
        return float(np.abs(step[inside]).mean() / 255) if inside.any() else 0.0


def drawn(scene: Scene, full: np.ndarray) -> np.ndarray:
    """The window with the defect, blended so that it has the contrast asked for.

    Contrast is the mean absolute change of a pixel inside the outline, as a share of the full
    range (255). No more than ``full`` itself, float [h, w, 3], can be had.

    Returns:
        uint8 [h, w, 3].
    """
    most = scene.change(full)
    strength = min(1.0, scene.contrast / most) if most else 0.0
    mixed = scene.before + strength * scene.weight[..., None] * (full - scene.before)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
