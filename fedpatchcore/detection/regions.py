"""Where a picture is defective: what of it lies above the threshold.

The verdict compares the image's score with a threshold; the regions must say the same. A patch is
*above* if it would still make the picture defective, were it the worst of it: with image score s,
largest patch score m and threshold t, patches count above ``t · m / s``. Where s is m, that is t
itself; where the score is less than the largest patch (re-weighting, a mean of the worst patches),
the level is raised alike. The worst patch of a defective picture is above by definition, so that
rounding cannot part the two: **score > threshold exactly if there is a region**.

Patches are compared as they were scored. The anomaly map that is shown is smoothed, and a single
patch above the threshold may well be below it there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fedpatchcore.features.geometry import Geometry, whole_pixels

__all__ = ["Region", "find_regions"]

TOUCHING = np.ones((3, 3), dtype=bool)  # pixels that meet at a corner are of one region
LARGEST = 1e39  # beyond any float32


@dataclass(frozen=True)
class Region:
    """A connected part of a picture above the threshold; all lengths in its own pixels.

    Attributes:
        left, top, right, bottom: its box, half-open: ``picture[top:bottom, left:right]``.
        area: pixels of it.
        peak: its largest patch score.
        x, y: the middle of that patch, a pixel of the region.
    """

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float
    x: int
    y: int


def find_regions(
    patches: np.ndarray,
    score: float,
    threshold: float,
    geometry: Geometry,
    size: tuple[int, int],
) -> tuple[tuple[Region, ...], np.ndarray]:
    """Regions of a picture, that of the largest patch score first, and the mask of them all.

    There are none unless ``score > threshold`` (so none if either is NaN), else at least one. A
    region is what bilinear interpolation of the patch scores leaves above the level, with the
    whole cell of each patch above it. It lies within what the geometry shows.

    Args:
        patches: float ``[h, w]``, of the square that the backbone saw; NaN counts as lowest.
        size: (W, H) of the original picture.

    Returns:
        Regions, and bool ``[H, W]``.
    """
    mask = np.zeros(size[::-1], dtype=bool)
    if not score > threshold:
        return (), mask
    scores = np.nan_to_num(patches, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    scores = scores.astype(np.float64).clip(-LARGEST, LARGEST)
    most = float(scores.max())
    excess = scores - _level(most, float(score), float(threshold))
    rows, columns = np.nonzero((excess > 0) | (scores == most))

    left, top, right, bottom = geometry.extent(*size)
    down = _Line(top, bottom, scores.shape[0], size[1])
    across = _Line(left, right, scores.shape[1], size[0])
    # Beyond the neighbours of the patches above, interpolation leaves nothing above.
    upper, lower = down.around(rows.min(), rows.max())
    first, end = across.around(columns.min(), columns.max())
    view = mask[upper:lower, first:end]
    share = (excess / np.abs(excess).max(initial=1e-300)).astype(np.float32)
    np.greater(down.weights(upper, lower) @ share @ across.weights(first, end).T, 0, out=view)
    for row, column in zip(rows, columns, strict=True):
        mask[down.first[row] : down.end[row], across.first[column] : across.end[column]] = True

    labels, count = ndimage.label(view, TOUCHING)
    y, x = down.middle[rows], across.middle[columns]
    owners = labels[y - upper, x - first]
    if len(set(owners.tolist())) < count:  # slivers between the pixels of larger regions
        view &= np.isin(labels, owners)
    boxes, areas = ndimage.find_objects(labels), np.bincount(labels.ravel())
    regions: dict[int, Region] = {}
    for at in np.argsort(-scores[rows, columns], kind="stable"):
        owner = int(owners[at])
        if owner not in regions:
            tall, wide = boxes[owner - 1]
            box = (first + wide.start, upper + tall.start, first + wide.stop, upper + tall.stop)
            peak = float(patches[rows[at], columns[at]])
            regions[owner] = Region(*box, int(areas[owner]), peak, int(x[at]), int(y[at]))
    return tuple(regions.values()), mask


def _level(most: float, score: float, threshold: float) -> float:
    """What a patch must exceed, where the largest is ``most``; finite."""
    level = max(threshold, -LARGEST)
    if score != most and score > 0 and most > 0:
        level = most * (level / score)
    return min(max(level, -LARGEST), LARGEST)


class _Line:
    """``cells`` patches in a line over ``size`` pixels of a picture, between two places on it.

    Attributes:
        first, end: int64 ``[cells]``, pixels of each cell, half-open. They leave no gap. A cell
            between the centres of two pixels has the one in which its middle lies.
        middle: int64 ``[cells]``, the pixel in which its middle lies.
    """

    def __init__(self, start: float, stop: float, cells: int, size: int) -> None:
        self._start, self._step, self._cells = start, (stop - start) / cells, cells
        low, high = whole_pixels(start, stop, size)
        edges = np.linspace(start, stop, cells + 1)
        ends = np.ceil(edges - 0.5).astype(np.int64).clip(low, high)
        middle = np.floor((edges[:-1] + edges[1:]) / 2).astype(np.int64).clip(low, high - 1)
        empty = ends[:-1] >= ends[1:]
        self.first = np.where(empty, middle, ends[:-1])
        self.end = np.where(empty, middle + 1, ends[1:])
        self.middle = middle.clip(self.first, self.end - 1)

    def around(self, one: int, other: int) -> tuple[int, int]:
        """Pixels (first, end) of these cells, all between, and a neighbour on each side."""
        before, after = max(one - 1, 0), min(other + 1, self._cells - 1)
        return int(self.first[before]), int(self.end[after])

    def weights(self, first: int, end: int) -> np.ndarray:
        """What each cell gives to each of these pixels, linearly: float32 ``[end - first, cells]``.

        Beyond the outermost middles it fades towards the rim, which changes no sign.
        """
        place = (np.arange(first, end) + 0.5 - self._start) / self._step - 0.5
        distance = np.abs(place[:, None] - np.arange(self._cells))
        return np.maximum(1 - distance, 0).astype(np.float32)
