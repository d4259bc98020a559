"""The greedy loop itself, over the few rows that can be the farthest now.

One row at a time: the sketch says which of the active rows the new centre can be nearer to at all,
and only these are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedpatchcore.coreset.pairs import squared_distances

__all__ = ["Active", "pick_one_by_one"]


@dataclass
class Active:
    """The active rows: which they are, and what is known of them.

    Attributes:
        rows: all rows ``[N, D]``; at: int64 ``[m]``, which of them are active.
        z: sketch ``[m, q + 2]``; low: lower squared norms ``[m]``.
        bound: float32 ``[m]``, exact squared distances to all centres; updated by picking.
    """

    rows: Tensor
    at: Tensor
    z: Tensor
    low: Tensor
    bound: Tensor


def pick_one_by_one(
    active: Active, *, outside: float, enough: float, limit: int
) -> tuple[list[int], list[float]]:
    """Pick the farthest again and again while it is surely the farthest of all rows.

    Args:
        outside: no row outside the active set is farther (squared) than this.
        enough: stop at this squared distance.
        limit: picks at most.

    Returns:
        Positions picked, and how far (squared) each was when it was picked.
    """
    rows, at_rows = active.rows.numpy(), active.at.numpy()
    z, low, bound = active.z.numpy(), active.low.numpy(), active.bound.numpy()
    z_centre = z * -2
    z_centre[:, -1] = low
    below, limits = np.empty_like(low), bound - low
    picked: list[int] = []
    reach: list[float] = []
    while len(picked) < limit:
        at = int(bound.argmax())
        value = float(bound[at])
        if value < outside or value <= enough:
            break
        picked.append(at)
        reach.append(value)
        # a BLAS may compute in unused lanes, too, whatever lies there: the sketch is finite
        with np.errstate(invalid="ignore"):
            np.dot(z, z_centre[at], out=below)
        near = np.flatnonzero(below < limits)
        apart = squared_distances(rows, at_rows[near], rows, np.full(len(near), at_rows[at]))
        bound[near] = np.minimum(bound[near], apart)
        bound[at] = 0
        limits[near] = bound[near] - low[near]
        limits[at] = -low[at]
    return picked, reach
