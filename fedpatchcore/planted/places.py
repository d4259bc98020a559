"""Where a defect is planted: where the picture has structure, not on an empty backdrop."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import (
    binary_closing,
    binary_fill_holes,
    binary_opening,
    label,
    uniform_filter,
)

__all__ = ["backdrop", "structure", "where"]

COARSE = 128  # pixels of the longer side that structure is looked for in
PLAIN = 0.15  # of the usual largest structure: below it there is none
SMOOTH = 0.25  # of it: the chance of a part's smooth surfaces
EDGE = 0.1  # of the strongest: an edge,
GRAIN = 3.0  # if it is so many times the grain of the rim
LEAST = 0.5  # levels of grey: a picture with less has no structure
FRAME = 0.03  # of a side: the rim that shows the backdrop


def structure(picture: np.ndarray, size: float) -> np.ndarray:
    """Standard deviation of grey around each place, as a chance → float64 [h, w] that sums to 1.

    Saturated at its 90th percentile, so that a single edge does not draw all defects. Where a part
    lies on a backdrop it is 0 outside its outline, and no less than `SMOOTH` of the largest on its
    smooth surfaces. Of a picture without an outline it is 0 where there is less than `PLAIN` of
    the largest; of one without any structure the same everywhere.

    Args:
        picture: uint8 [H, W, 3].
        size: of the defect, a share of the shorter side: structure is looked for at this scale.
    """
    small = Image.fromarray(picture)
    small.thumbnail((COARSE, COARSE), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), np.float64)
    spread = _spread(grey, max(3, round(size * min(grey.shape))))
    usual = np.quantile(spread, 0.9)
    if usual < LEAST:
        return np.full(grey.shape, 1 / grey.size)
    chance = np.minimum(spread, usual)
    if (part := _part(grey)) is not None:
        chance = np.where(part, np.maximum(chance, SMOOTH * usual), 0)
    else:
        chance[chance < PLAIN * usual] = 0
    return chance / chance.sum()


def _spread(grey: np.ndarray, side: int) -> np.ndarray:
    """Standard deviation in a square round each pixel."""
    mean = uniform_filter(grey, side, mode="nearest")
    square = uniform_filter(grey * grey, side, mode="nearest")
    return np.sqrt(np.maximum(0, square - mean * mean))


def _part(grey: np.ndarray) -> np.ndarray | None:
    """What closed outlines enclose, away from the rim: bool [h, w]; None if that is little."""
    spread = _spread(grey, 3)
    rim = _rim(grey.shape)
    edge = max(EDGE * np.quantile(spread, 0.95), GRAIN * np.median(spread[rim]))
    edges = binary_closing(spread > edge, iterations=2)
    solid = binary_opening(binary_fill_holes(edges), iterations=2)
    labels, count = label(solid)
    part = np.zeros(grey.shape, np.bool_)
    for one in range(1, count + 1):
        inside = labels == one
        if inside.mean() > 0.02 and inside[rim].mean() < 0.02:
            part |= inside
    return part if part.mean() > 0.05 else None


def _rim(shape: tuple[int, int]) -> np.ndarray:
    """The outermost pixels of a picture: bool [H, W]."""
    rim = max(1, round(FRAME * min(shape)))
    outer = np.ones(shape, np.bool_)
    outer[rim:-rim, rim:-rim] = False
    return outer


def where(
    rng: np.random.Generator, chance: np.ndarray, picture: np.ndarray, shape: tuple[int, int]
) -> tuple[int, int]:
    """Top and left of a window of this shape that lies in the picture, drawn by structure."""
    at = rng.choice(chance.size, p=chance.ravel())
    cell = np.array(np.unravel_index(at, chance.shape)) + rng.random(2)
    whole = np.array(picture.shape[:2])
    corner = np.rint(cell / chance.shape * whole - np.array(shape) / 2).astype(int)
    top, left = np.clip(corner, 0, whole - shape)
    return int(top), int(left)


def backdrop(picture: np.ndarray) -> np.ndarray:
    """The colour that a missing piece leaves → float64 [3].

    What lies behind the part where the picture's rim is of one colour; else, of a part that fills
    the picture, its darkest tone, as a hole has.
    """
    pixels = picture[_rim(picture.shape[:2])].astype(np.float64)
    colour = np.median(pixels, axis=0)
    if np.abs(pixels - colour).mean() < 0.25 * picture.std():
        return colour
    return np.quantile(picture.reshape(-1, 3), 0.02, axis=0)
