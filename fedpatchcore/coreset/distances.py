"""Distances of N rows to a growing set of centres, kept current only where it matters.

Each row has an upper bound of its squared distance to the centres: the true distance to the
first ``seen`` of them (at the start, a little above that to the very first). Later centres can
only lower it, so whoever lies below the row sought need not be looked at. `refresh` brings chosen
rows up to date: the `Sketch` bounds the distance to every missed centre from below, many centres
in one matrix product, and only the pairs that this leaves open are computed, by differences,
free of cancellation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.coreset.pairs import squared_distances
from fedpatchcore.coreset.sketch import Sketch, why_not_finite
from fedpatchcore.errors import CoresetError

__all__ = ["Distances"]

ROWS_A_PRODUCT = 512
CENTRES_A_PRODUCT = 4096
WORTH_ANOTHER_LOOK = 2048  # missed centres that are quicker bounded again than computed once
LOOKS = 2  # at the most promising centre, before all that are left are computed at once
PAIRS_AT_ONCE = 1 << 19


class Distances:
    """Upper bounds of squared L2 distances, exact for the rows that were refreshed last.

    Memory beside the rows themselves: N·(q + 5) numbers, the centres, and a table of products.

    Args:
        rows: ``[N, D]`` floating point, in the host's memory; never copied.
        capacity: centres that will be added at most.
        sketch: made from these rows.
        first: row that becomes the first centre, or None if centres are given.

    Attributes:
        bound: float32 ``[N]``; infinite before the first centre.
        count: centres so far.

    Raises:
        CoresetError: rows that are NaN, infinite or too long for float32.
    """

    def __init__(self, rows: Tensor, capacity: int, sketch: Sketch, first: int | None) -> None:
        total = len(rows)
        self.rows = rows
        self.z = torch.empty(total, sketch.width)
        self.low = torch.empty(total)  # squared norms, never above the truth
        self.bound = torch.full((total,), torch.inf)
        self.seen = torch.zeros(total, dtype=torch.int32)
        self.centres = torch.empty(capacity, rows.shape[1])
        self.centre_z = torch.empty(capacity, sketch.width)  # (−2 y, −2 r, low)
        self.count = 0
        for block, z, low, high in sketch(rows, None if first is None else rows[first]):
            self.z[block], self.low[block] = z, low
            if high is not None:
                self.bound[block] = high
        if not torch.isfinite(self.low).all():
            raise CoresetError(why_not_finite(rows))
        if first is not None:
            self.add(torch.tensor([first]))
        block = ROWS_A_PRODUCT * CENTRES_A_PRODUCT
        self._products = torch.empty(min(block, total * max(capacity, 1)))

    def add(self, at: Tensor) -> None:
        """Rows number ``at`` become centres; nobody's bound is updated yet."""
        self._append(self.rows[at].float(), self.z[at], self.low[at])
        self.bound[at] = 0

    def add_given(self, centres: Tensor, sketch: Sketch) -> None:
        """Centres ``[m, D]`` that are no rows of these."""
        for block, z, low, _ in sketch(centres):
            if not torch.isfinite(low).all():
                raise CoresetError(why_not_finite(centres))
            self._append(centres[block], z, low)

    def _append(self, centres: Tensor, z: Tensor, low: Tensor) -> None:
        new = slice(self.count, self.count + len(z))
        self.centres[new] = centres
        torch.mul(z, -2, out=self.centre_z[new])
        self.centre_z[new, -1] = low
        self.count += len(z)

    def farthest(self, count: int) -> tuple[Tensor, float]:
        """Rows with the largest bounds, in order of number, and the largest bound of all others.

        The latter is −1 if there are no others.
        """
        if len(self.bound) <= count:
            return torch.arange(len(self.bound)), -1.0
        last = len(self.bound) - count - 1
        order = np.argpartition(self.bound.numpy(), last)
        return torch.from_numpy(np.sort(order[last + 1 :])), float(self.bound[order[last]])

    def refresh(self, rows: Tensor, outside: float = -1.0) -> None:
        """Bring the bounds of ``rows`` (indices) up to date with all centres.

        Those that end below ``outside`` may stay above their true distance.
        """
        rows = rows[torch.argsort(self.seen[rows], stable=True)]
        since = self.seen[rows]
        start = 0
        while start < len(rows) and (first := int(since[start])) < self.count:
            # rows of similar age share one product; mixing ages would repeat finished work
            limit = first + max(64, (self.count - first) // 2)
            wide = min(self.count - first, CENTRES_A_PRODUCT)
            age = since[start : start + max(ROWS_A_PRODUCT, len(self._products) // wide)]
            end = start + int(torch.searchsorted(age, limit, right=True))
            self._catch_up(rows[start:end], first, outside)
            start = end

    def _catch_up(self, rows: Tensor, first: int, outside: float) -> None:
        # who is out of the race is left above the truth, and keeps its age, if that saves work now
        careless = outside if self.count - first <= WORTH_ANOTHER_LOOK else -torch.inf
        best, low, z = self.bound[rows], self.low[rows], self.z.index_select(0, rows)
        high = max(1, len(self._products) // len(rows))
        for start in range(first, self.count, high):
            wide = min(self.count - start, high)
            table = self._products[: len(rows) * wide].view(len(rows), wide)
            torch.mm(z, self.centre_z[start : start + wide].T, out=table)
            self._close(table, rows, start, best, low, careless)
        self.bound[rows] = best
        self.seen[rows[best >= careless]] = self.count

    def _close(
        self, table: Tensor, rows: Tensor, start: int, best: Tensor, low: Tensor, careless: float
    ) -> None:
        """Lower ``best`` of ``rows`` to the centres from ``start`` on that ``table`` speaks of.

        The most promising centre comes first: mostly it closes all other pairs of its row.
        """
        at = torch.arange(len(rows))
        for _ in range(LOOKS):
            likely = torch.from_numpy(table.numpy().argmin(1))  # NumPy's is the vectorised one
            smallest = table.gather(1, likely[:, None])[:, 0]
            open_ = torch.nonzero(smallest < best[at] - low[at])[:, 0]
            if not len(open_):
                return
            row, centre = at[open_], likely[open_]
            best[row] = torch.minimum(best[row], self._exact(rows[row], start + centre))
            table[open_, centre] = torch.inf
            still = torch.nonzero(best[row] >= careless)[:, 0]
            if not len(still):
                return
            if 2 * len(still) > len(at):
                break
            at, table = row[still], table[open_[still]]
        step = max(1, PAIRS_AT_ONCE // table.shape[1])
        limit = best[at].where(best[at] >= careless, -torch.inf) - low[at]
        for some in range(0, len(at), step):  # where bounds say little, all pairs stay open
            row, centre = self._below(table[some : some + step], limit[some : some + step])
            if len(row):
                row = at[some + row]
                best.scatter_reduce_(0, row, self._exact(rows[row], start + centre), "amin")

    def _exact(self, rows: Tensor, centres: Tensor) -> Tensor:
        """Squared distances of pairs (row, centre) by differences, float32."""
        x, y = self.rows.numpy(), self.centres.numpy()
        return torch.from_numpy(squared_distances(x, rows.numpy(), y, centres.numpy()))

    def _below(self, table: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of the numbers below their row's limit."""
        flat = torch.from_numpy(np.flatnonzero(table.numpy() < limit.numpy()[:, None]))
        return torch.div(flat, table.shape[1], rounding_mode="floor"), flat % table.shape[1]
