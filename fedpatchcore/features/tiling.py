"""Large pictures cut into overlapping tiles, whose patches join without a seam.

A tile is a square that the network sees at the picture's own resolution. Neighbours overlap, and of
each only the patches nearer to its own middle count: near the rim of a tile the network sees the
zeros around it in place of the picture. Tiles begin at multiples of the network's stride and
maps of all layers are aligned (`fedpatchcore.features.patches.embed`), so that a patch has the same
features, but for what is left of the rim's influence, whichever tile it comes from.

The grid of a picture's patches goes on over all tiles, as if the network had seen the picture at
once. Pieces of it are made and used one after the other; all of them together are held only by who
asks for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.geometry import Geometry, Grid

__all__ = ["Cut", "Piece", "Tiling"]

LACKING = 2  # patches in a line that a network without padding may lose


@dataclass(frozen=True)
class Piece:
    """A part of a picture's patches.

    Attributes:
        index: of the picture among those that were asked for.
        features: float32 ``[h, w, D]``.
        top, left: place of the first of them in the picture's grid.
        grid: of the whole picture.
    """

    index: int
    features: np.ndarray
    top: int
    left: int
    grid: Grid

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the grid."""
        height, width = self.features.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def last(self) -> bool:
        """Whether the picture has no further piece; they come row by row."""
        rows, columns = self.place
        return (rows.stop, columns.stop) == self.grid


@dataclass(frozen=True)
class Cut:
    """A tile and those of its patches that count.

    Attributes:
        y, x: its first pixel.
        top, left, bottom, right: of its patches, in the picture's grid.
    """

    y: int
    x: int
    top: int
    left: int
    bottom: int
    right: int


class Tiling:
    """How pictures are cut for one network.

    Args:
        cells: patches in a line of a tile, on the finest of the network's maps.

    Attributes:
        step: pixels from one patch to the next.

    Raises:
        ConfigError: tiles that the overlap leaves nothing of, or patches that lie unevenly.
    """

    def __init__(self, geometry: Geometry, cells: int) -> None:
        self._geometry, self._cells = geometry, cells
        self.size, self.overlap = geometry.size, geometry.overlap
        apart = self.size / cells  # a little more than the step: without padding one is lacking
        steps = [n for n in range(1, geometry.stride + 1) if geometry.stride % n == 0]
        self.step = max((n for n in steps if n <= apart), default=1)
        if self.size % geometry.stride:
            raise ConfigError(
                f"geometry='tiles' takes an image-size that is a multiple of {geometry.stride}, "
                f"got {self.size}"
            )
        if cells < self.size // self.step - LACKING:
            raise ConfigError(
                f"geometry='tiles' takes layers whose patches are {geometry.stride} pixels apart "
                f"or a whole part of it; these are {apart:.3g}"
            )
        if 2 * self.overlap > self.size:
            raise ConfigError(
                f"tile-overlap={self.overlap} is more than half a tile of image-size={self.size}: "
                f"set image-size={2 * self.overlap} or more"
            )

    def grid(self, field: tuple[int, int]) -> Grid:
        """Rows and columns of patches of a picture seen at this width and height."""
        return field[1] // self.step, field[0] // self.step

    def cuts(self, field: tuple[int, int]) -> list[Cut]:
        """All tiles of a picture seen at this width and height, row by row."""
        return [
            Cut(y, x, top, left, bottom, right)
            for y, top, bottom in self._line(field[1])
            for x, left, right in self._line(field[0])
        ]

    def _line(self, length: int) -> list[tuple[int, int, int]]:
        """Tiles in a line of pixels: first pixel, and patches (first, end) that count."""
        last = max(0, length - self.size)
        starts = [*range(0, last, self.size - self.overlap), last]
        # half way through what two tiles share
        between = [(one + self.size + other) // 2 // self.step for one, other in pairwise(starts)]
        edges = [0, *between, length // self.step]
        return [(start, *ends) for start, ends in zip(starts, pairwise(edges), strict=True)]

    def tile(self, pixels: np.ndarray, cut: Cut) -> np.ndarray:
        """Its pixels uint8 ``[S, S, 3]``; a smaller picture is continued as in a mirror."""
        found = pixels[cut.y : cut.y + self.size, cut.x : cut.x + self.size]
        spare = [(0, self.size - side) for side in found.shape[:2]]
        if any(pad for _, pad in spare):
            found = np.pad(found, [*spare, (0, 0)], mode="symmetric")
        return np.ascontiguousarray(found)

    def piece(self, index: int, cut: Cut, grid: Grid, features: np.ndarray) -> Piece:
        """Of a tile's features ``[cells, cells, D]`` those that count."""
        rows = self._places(cut.y, cut.top, cut.bottom)
        columns = self._places(cut.x, cut.left, cut.right)
        some = features[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if len(rows) > some.shape[0] or len(columns) > some.shape[1]:
            some = features[np.ix_(rows, columns)]
        return Piece(index, some, cut.top, cut.left, grid)

    def _places(self, start: int, first: int, end: int) -> np.ndarray:
        """Which of the tile's patches these of the picture are; what it lacks is its last."""
        return np.minimum(np.arange(first, end) - start // self.step, self._cells - 1)
