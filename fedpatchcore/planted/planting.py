"""One defect planted into the picture of a good part.

Planted defects stand in for real ones where nobody has any: to choose settings, and to see which
sizes and contrasts a threshold finds. They are not real defects: no figure of them is a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_fill_holes

from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.planted.kinds.blurred import blurred
from fedpatchcore.planted.kinds.missing import missing
from fedpatchcore.planted.kinds.pasted import pasted
from fedpatchcore.planted.kinds.toned import scarred, stained
from fedpatchcore.planted.places import structure, where
from fedpatchcore.planted.scene import Scene, drawn
from fedpatchcore.planted.shapes import blob, chip, ellipse, scar

__all__ = ["KINDS", "SMALLEST", "Planted", "plant"]

SMALLEST = 32  # pixels of a picture's shorter side
THINNEST = 4  # pixels of a defect
LARGEST = 0.5  # size
ENOUGH = 0.8  # of the contrast asked for
PLACES = 6  # tried, of which the first that gives the contrast is taken


class Kind(NamedTuple):
    """Outline and looks of a kind of defect."""

    outline: Callable[[np.random.Generator, int], np.ndarray]
    looks: Callable[[Scene], np.ndarray]


KINDS: Mapping[str, Kind] = {
    "pasted": Kind(chip, pasted),
    "scar": Kind(scar, scarred),
    "blob": Kind(blob, stained),
    "blur": Kind(ellipse, blurred),
    "missing": Kind(chip, missing),
}
"""A piece of the same picture elsewhere, a thin scar, a blended blob, a local blur with a shift of
brightness, a piece that is missing."""


@dataclass(frozen=True)
class Planted:
    """A picture with a defect.

    Attributes:
        picture: uint8 [H, W, 3].
        mask: bool [H, W], True wherever the picture was changed, and in what such pixels enclose.
        kind: of `KINDS`.
        size: largest extent asked for, as a share of the picture's shorter side.
        asked: contrast asked for.
        contrast: the one it has: mean absolute change of a pixel of the mask, of 255.
    """

    picture: np.ndarray
    mask: np.ndarray
    kind: str
    size: float
    asked: float
    contrast: float

    @property
    def faint(self) -> bool:
        """Whether the picture left clearly less contrast than was asked for."""
        return self.contrast < ENOUGH * self.asked

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the mask in pixels; the last two are just outside."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @property
    def extent(self) -> int:
        """Larger side of the box, pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


def plant(
    picture: np.ndarray, kind: str, size: float, contrast: float, seed: int | list[int]
) -> Planted:
    """One defect, the same for the same arguments.

    Where the picture leaves less contrast than is asked for at `PLACES` places (nothing can be
    pasted into a plain picture), the defect has what there is, and says so.

    Args:
        picture: uint8 [H, W, 3] of a good part; it is not changed.
        kind: of `KINDS`.
        size: largest extent, a share of the shorter side, in (0, 0.5]; no less than 4 pixels.
        contrast: mean absolute change, a share of the full range, in (0, 1].
        seed: as `numpy.random.default_rng` takes it.

    Raises:
        ConfigError: an unknown kind, or a size or contrast out of range.
        DataError: another shape or type, a picture that is too small, or one in which no place
            can be changed at all.
    """
    _check(picture, kind, size, contrast)
    rng = np.random.default_rng(seed)
    extent = max(THINNEST, round(size * min(picture.shape[:2])))
    chance = structure(picture, size)
    best: tuple[float, Scene, np.ndarray] | None = None
    for _ in range(PLACES):
        weight = KINDS[kind].outline(rng, extent)[: picture.shape[0], : picture.shape[1]]
        top, left = where(rng, chance, picture, weight.shape)
        scene = Scene(picture, weight, top, left, contrast, chance, rng)
        window = drawn(scene, KINDS[kind].looks(scene))
        if (reached := _contrast(scene, window)) > (best[0] if best else 0):
            best = reached, scene, window
        if best is not None and best[0] >= ENOUGH * contrast:
            break
    if best is None:
        raise DataError(f"no '{kind}' can be planted: it changes no pixel of this picture")
    reached, scene, window = best
    after = picture.copy()
    after[scene.window] = window
    mask = np.zeros(picture.shape[:2], np.bool_)
    mask[scene.window] = _inside(scene, window)
    return Planted(after, mask, kind, size, contrast, reached)


def _inside(scene: Scene, window: np.ndarray) -> np.ndarray:
    """Pixels of the window that were changed, and what they enclose: bool [h, w]."""
    return binary_fill_holes((window != scene.picture[scene.window]).any(axis=2))


def _contrast(scene: Scene, window: np.ndarray) -> float:
    """What the window has got; 0 where no pixel was changed."""
    inside = _inside(scene, window)
    step = np.abs(window.astype(np.float64) - scene.before)[inside]
    return float(step.mean() / 255) if inside.any() else 0.0


def _check(picture: np.ndarray, kind: str, size: float, contrast: float) -> None:
    if kind not in KINDS:
        raise ConfigError(f"'{kind}' is no kind of planted defect; there are {', '.join(KINDS)}")
    if not 0 < size <= LARGEST:
        raise ConfigError(f"the size of a planted defect must be in (0, {LARGEST}], got {size}")
    if not 0 < contrast <= 1:
        raise ConfigError(f"the contrast of a planted defect must be in (0, 1], got {contrast}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise DataError(
            f"defects are planted into uint8 [H, W, 3], got {picture.dtype} {picture.shape}"
        )
    if min(picture.shape[:2]) < SMALLEST:
        height, width = picture.shape[:2]
        raise DataError(
            f"a picture of {width}x{height} is too small for a planted defect: {SMALLEST} pixels "
            "a side are needed"
        )
