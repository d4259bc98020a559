"""Patch features of several images under one another, whose grids may differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fedpatchcore.features.geometry import Grid

__all__ = ["FeatureMaps", "Gathering"]


class FeatureMaps(Sequence):
    """Features of n images, each ``[h, w, D]``, in one array.

    Attributes:
        rows: float32 ``[P, D]``, the patches of all images, row by row of each grid.
        grids: of each image, n of them.
    """

    def __init__(self, rows: np.ndarray, grids: Sequence[Grid]) -> None:
        self.rows, self.grids = rows, tuple(grids)
        sizes = [height * width for height, width in self.grids]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureMaps:
        """From ``[n, h, w, D]``, without a copy."""
        n, height, width, dimension = features.shape
        return cls(features.reshape(-1, dimension), [(height, width)] * n)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, at: int) -> np.ndarray:
        """Features ``[h, w, D]`` of one image, a view."""
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        return self.rows[self.starts[at] : self.starts[at + 1]].reshape(*self.grids[at], -1)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[at] for at in range(len(self)))

    @property
    def nbytes(self) -> int:
        """Of all features."""
        return self.rows.nbytes

    @property
    def alike(self) -> bool:
        """Whether all images have the same grid."""
        return len(set(self.grids)) < 2

    def dense(self) -> np.ndarray:
        """``[n, h, w, D]`` of images of one grid, a view."""
        grid = self.grids[0] if self.grids else (0, 0)
        return self.rows.reshape(len(self), *grid, self.rows.shape[-1])

    def some(self, wanted: Sequence[int]) -> FeatureMaps:
        """Some of the images, a copy."""
        rows = [self.rows[self.starts[at] : self.starts[at + 1]] for at in wanted]
        return FeatureMaps(np.concatenate(rows), [self.grids[at] for at in wanted])

    def runs(self, most: int) -> Iterator[np.ndarray]:
        """Neighbouring images of one grid, ``most`` at a time: views ``[b, h, w, D]``."""
        start = 0
        for at in range(1, len(self) + 1):
            full = at - start == most
            if at == len(self) or full or self.grids[at] != self.grids[start]:
                rows = self.rows[self.starts[start] : self.starts[at]]
                yield rows.reshape(at - start, *self.grids[start], -1)
                start = at


class Gathering:
    """Images one after the other into one array, which is never held twice.

    Args:
        expected: images there will be, of the first one's size; room is made as it is needed.
    """

    def __init__(self, expected: int) -> None:
        self._expected = max(1, expected)
        self._rows: np.ndarray | None = None
        self._filled = 0
        self._grids: list[Grid] = []

    def room(self, grid: Grid, dimension: int) -> np.ndarray:
        """Where the next image's features go, ``[h, w, D]``."""
        patches = grid[0] * grid[1]
        if self._rows is None:
            self._rows = np.empty((self._expected * patches, dimension), np.float32)
        if (needed := self._filled + patches) > len(self._rows):
            # grows where it lies if it can: pages move, numbers are not copied
            self._rows.resize((max(needed, len(self._rows) * 5 // 4), dimension), refcheck=False)
        into = self._rows[self._filled : needed]
        self._filled = needed
        self._grids.append(grid)
        return into.reshape(*grid, dimension)

    def add(self, features: np.ndarray) -> None:
        """Take an image's features ``[h, w, D]`` in."""
        self.room(features.shape[:2], features.shape[2])[...] = features

    def add_all(self, parts: Iterable[Iterable[np.ndarray]]) -> FeatureMaps:
        """Take parts ``[b, h, w, D]`` in, and be done."""
        for part in parts:
            for one in part:
                self.add(one)
        return self.done()

    def done(self) -> FeatureMaps:
        """All of them. There must be one."""
        return FeatureMaps(self._rows[: self._filled], self._grids)
