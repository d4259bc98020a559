"""Where a slice of feature space is cut into regions, kept in the place of a codebook's cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpatchcore.privacy.settings import MOST_REGIONS

__all__ = ["Cuts", "are_cuts", "region_cells"]


def region_cells(view: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Cells of a codebook of regions: float32 ``[d + 1 + b, d]``.

    Args:
        view: ``[d, d]``, symmetric, through which all directions vary alike.
        mean: ``[d]``, where the regions meet.
        directions: ``[b, d]``, whose signs cut 2ᵇ regions.
    """
    return np.concatenate([view, mean[None], directions]).astype(np.float32)


@dataclass(frozen=True)
class Cuts:
    """A view, the point where regions meet, and the directions whose signs tell them apart."""

    view: np.ndarray
    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray) -> Cuts:
        """Inverse of `region_cells`."""
        d = cells.shape[1]
        told = cells.astype(np.float64)
        return cls(told[:d], told[d], told[d + 1 :])

    def region(self, points: np.ndarray) -> np.ndarray:
        """Number of each point's region, int64 ``[P]``."""
        signs = (points - self.mean) @ self.directions.T > 0
        return signs @ (1 << np.arange(len(self.directions)))


def are_cuts(cells: np.ndarray) -> bool:
    """Whether cells ``[k, d]`` are `region_cells` of 2 to `MOST_REGIONS` regions."""
    more = len(cells) - cells.shape[1] - 1
    return more >= 1 and 1 << more <= MOST_REGIONS
