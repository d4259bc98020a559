"""Reconstruction: are a bank's rows copies of patches of the images behind it?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import ConfigError

__all__ = ["Reconstruction", "reconstruction"]

COPY = 0.01  # a row nearer than this share of the usual distance is a copy of a patch


@dataclass(frozen=True)
class Reconstruction:
    """How far bank rows are from the patches of the images behind them.

    Attributes:
        copies: share of the rows that are a member's patch, to within `COPY` of ``usual``.
        ratio: median distance of a row to the nearest member patch, over ``usual``.
        usual: median distance of a *fresh* patch (of an image that was not used) to the nearest
            member patch; a ratio far below 1 says that rows know more than resemblance.
    """

    copies: float
    ratio: float
    usual: float
    rows: int


def reconstruction(
    rows: np.ndarray, members: Iterable[np.ndarray], fresh: np.ndarray
) -> Reconstruction:
    """Is a bank row a training patch? Rows ``[M, D]``, patches ``[P, D]`` of each member image.

    Args:
        fresh: ``[F, D]`` patches of images that are not among the members: the yardstick.

    Raises:
        ConfigError: no rows, no members or no yardstick.
    """
    if not len(rows) or not len(fresh):
        raise ConfigError("reconstruction needs bank rows, and patches of images not behind them")
    queries = np.concatenate([rows, fresh]).astype(np.float32)
    nearest = np.full(len(queries), np.inf)
    for patches in members:
        distances, at = NearestNeighbours(patches).search(queries)
        better = np.flatnonzero(distances[:, 0] < nearest)
        # FAISS loses digits near zero: the distances that count are taken by differences
        gaps = queries[better].astype(np.float64) - patches[at[better, 0]]
        nearest[better] = np.minimum(nearest[better], np.linalg.norm(gaps, axis=1))
    if not np.isfinite(nearest).all():
        raise ConfigError("reconstruction needs the patches of one member image or more")
    own, usual = nearest[: len(rows)], float(np.median(nearest[len(rows) :]))
    ratio = float(np.median(own)) / usual if usual > 0 else math.nan
    return Reconstruction(float((own <= COPY * usual).mean()), ratio, usual, len(rows))
