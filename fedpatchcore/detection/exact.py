"""Exact nearest rows on the CPU, with most pairs ruled out in a few dimensions.

A bank's rows x are described by their projection p = Vᵀx on d orthonormal directions and the
length r of what is left over. By Cauchy and Schwarz

    ‖q − x‖² ≥ ‖p_q − p_x‖² + (r_q − r_x)²  =  ‖q̂ − x̂‖²,    q̂ = (p_q, r_q), x̂ = (p_x, r_x),

so the bounds of all pairs are one matrix product of d + 2 columns. Along the bank's principal
directions they are tight: with d = 64 a fraction of a percent of the rows can still be
nearer than the best row seen, and only those are measured, by differences of the rows as given.
What bounds rule out is out for certain: every bound gives way by a multiple of what float32
rounds it by. The answer is therefore the one of measuring every pair: the row at the smallest
distance, of equally near ones that with the lowest number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.coreset.pairs import squared_distances
from fedpatchcore.errors import BankError

__all__ = ["ExactSearch"]

DIRECTIONS = 64
WORTHWHILE = 192, 512, 64  # least dimension, rows and queries for which projecting pays
PAIRS_A_BLOCK = 1 << 21  # pairs of queries and rows looked at together: 8 MiB of bounds
ROWS_A_BLOCK = 1 << 14  # rows among them, at most
DESCRIBED = 2048  # queries that are described together, at most: 12 MiB of 1536 numbers
TOO_MANY = 0.1  # share of pairs left by projections above which whole rows bound better
UNIT = 2.0**-24  # largest relative rounding error of a float32 operation
SAMPLE = 1024  # rows that the middle and the directions are estimated from


class _Bounds:
    """Lower bounds of the distances to the rows, from a table ``[M, d + 1]``."""

    def __init__(self, table: np.ndarray, squares: np.ndarray, slack: float) -> None:
        # the last column holds −‖x‖²/2, so that q̂·x̂ grows as the bound shrinks
        half = squares * (slack - 0.5)
        self.table = torch.from_numpy(np.hstack([table, half[:, None]]).astype(np.float32))
        self.slack = slack

    def __call__(self, queries: np.ndarray, block: slice, room: Tensor) -> np.ndarray:
        """``s [n, m]`` of a block of rows: (‖q‖² − bound)/2, not below what exact numbers give.

        Args:
            room: float32, at least n · m numbers, which the result lies in: so much memory asked
                for and given back each time costs as much as the product.
        """
        ones = np.ones((len(queries), 1), np.float32)
        described, rows = torch.from_numpy(np.hstack([queries, ones])), self.table[block]
        shape = len(described), len(rows)
        return torch.mm(described, rows.T, out=room[: shape[0] * shape[1]].view(shape)).numpy()


@dataclass(frozen=True)
class _Asked:
    """A block of queries.

    Attributes:
        described: what the bounds take of them.
        squares: their squared lengths from the middle.
        room: where bounds lie.
    """

    queries: np.ndarray
    described: np.ndarray
    squares: np.ndarray
    k: int
    room: Tensor


class ExactSearch:
    """The ``k`` nearest of rows ``[M, D]``, by L2 distance, ties to the lower row number.

    Float32 rows are kept as they are, without a copy: they must not change afterwards.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = np.ascontiguousarray(rows, dtype=np.float32)
        sample = self._rows[:: -(-len(rows) // SAMPLE)].copy()  # torch warns of what is read-only
        # the median, unlike the mean, stays in the cloud when some rows are enormous
        self._middle = torch.from_numpy(sample).median(0).values.numpy()
        self._whole: _Bounds | None = None
        self._few: _Bounds | None = None
        self._directions: Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances float32 ``[Q, k]``, nearest first, and row numbers int64 ``[Q, k]``.

        Raises:
            BankError: a query is not finite.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if not np.isfinite(queries).all():
            raise BankError("queries hold NaN or infinite values: check the images' features")
        distances = np.empty((len(queries), k), np.float32)
        numbers = np.empty((len(queries), k), np.int64)
        dimension, rows, enough = WORTHWHILE
        if self._few is None and (
            queries.shape[1] >= dimension and len(self) >= rows and len(queries) >= enough
        ):
            self._project()
        step = min(DESCRIBED, PAIRS_A_BLOCK // min(len(self), ROWS_A_BLOCK))
        room = torch.empty(min(step, len(queries)) * min(len(self), ROWS_A_BLOCK))
        for first in range(0, len(queries), DESCRIBED):
            chunk = slice(first, first + DESCRIBED)
            some, near, at = queries[chunk], distances[chunk], numbers[chunk]
            centred, squares = self._centred(some)
            bounds, described = self._few or self._bounds(), centred
            if bounds is self._few:
                described = self._described(centred)
            for low in range(0, len(some), step):
                block = slice(low, low + step)
                asked = _Asked(some[block], described[block], squares[block], k, room)
                near[block], at[block] = self._nearest(asked, bounds)
        return distances, numbers

    # -- bounds ---------------------------------------------------------------------

    def _centred(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows minus the middle, and their squared lengths.

        A vector so long that its square overflows (hostile, or broken) becomes zero with an
        infinite square: nothing is known of its distances, and they are measured if need be.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            x = x - self._middle
            squares = np.einsum("nd,nd->n", x, x)
        lost = ~np.isfinite(squares)
        x[lost], squares[lost] = 0, np.inf
        return x, squares

    def _project(self) -> None:
        """Directions by three steps of orthogonal iteration from a fixed start.

        Any orthonormal directions give valid bounds; principal ones give tight ones.
        """
        sample, _ = self._centred(self._rows[:: -(-len(self) // SAMPLE)])
        x = torch.from_numpy(sample)
        start = np.random.default_rng(0).standard_normal((x.shape[1], DIRECTIONS))
        basis = torch.from_numpy(start).float()
        for _ in range(3):
            basis = torch.linalg.qr((x.T @ (x @ basis)).double()).Q.float()
        self._directions = basis
        table = np.empty((len(self), DIRECTIONS + 1), np.float32)
        squares = np.empty(len(self), np.float32)
        for low in range(0, len(self), 4096):
            block = slice(low, low + 4096)
            x, squares[block] = self._centred(self._rows[block])
            table[block] = self._described(x)
        slack = 4 * UNIT * (self._rows.shape[1] + DIRECTIONS + 16)
        self._few = _Bounds(table, squares, slack)

    def _described(self, x: np.ndarray) -> np.ndarray:
        """Centred rows, which become the rest → (projection, length of the rest) ``[n, d + 1]``."""
        rest = torch.from_numpy(x)
        inside = rest @ self._directions
        # not by Pythagoras: the difference of two squares would lose a short rest's digits
        rest.addmm_(inside, self._directions.T, alpha=-1)
        return torch.hstack([inside, torch.linalg.vector_norm(rest, dim=1)[:, None]]).numpy()

    def _bounds(self) -> _Bounds:
        """Bounds from all dimensions: the distances themselves, up to rounding."""
        if self._whole is None:
            slack = 4 * UNIT * (self._rows.shape[1] + 16)
            self._whole = _Bounds(*self._centred(self._rows), slack)
        return self._whole

    # -- search ---------------------------------------------------------------------

    def _nearest(self, asked: _Asked, bounds: _Bounds) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows ``[n, k]`` of one block of queries."""
        queries, k = asked.queries, asked.k
        at, row = self._left(asked, bounds)
        if bounds is self._few and len(at) > TOO_MANY * len(queries) * len(self):
            asked = replace(asked, described=self._centred(queries)[0])
            at, row = self._left(asked, self._bounds())
        found = squared_distances(queries, at, self._rows, row)
        starts = np.searchsorted(at, np.arange(len(queries)))
        if k == 1:
            best = np.minimum.reduceat(found, starts)
            hits = np.flatnonzero(found == best[at])
            first = hits[np.searchsorted(at[hits], np.arange(len(queries)))]
            return np.sqrt(best)[:, None], row[first][:, None]
        order = np.lexsort((row, found, at))[starts[:, None] + np.arange(k)]
        return np.sqrt(found[order]), row[order]

    def _left(self, asked: _Asked, bounds: _Bounds) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (query, row), in order, that may be among the k nearest; at least k a query."""
        queries, squares, k = asked.queries, asked.squares, asked.k
        count, every = len(queries), np.arange(len(queries))
        nearest = np.full((count, k), np.inf, np.float32)  # squared, of the rows seen so far
        give, found = 2 * bounds.slack, []
        for low in range(0, len(self), ROWS_A_BLOCK):
            s = bounds(asked.described, slice(low, low + ROWS_A_BLOCK), asked.room)
            likely = _largest(s, min(k, s.shape[1]))
            at = np.repeat(every, likely.shape[1])
            measured = squared_distances(queries, at, self._rows, low + likely.ravel())
            measured = measured.reshape(count, -1)
            nearest = np.sort(np.hstack([nearest, measured]), axis=1)[:, :k]
            known = np.isfinite(squares) & np.isfinite(nearest[:, -1])
            floor = np.full(count, -np.inf, np.float32)
            floor[known] = squares[known] * (1 - give) - nearest[known, -1] * (1 + give)
            left = s >= floor[:, None] / 2
            left[every[:, None], likely] = True
            at, row = np.divmod(np.flatnonzero(left), s.shape[1])
            found.append((at, row + low))
        at, row = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(at, kind="stable")
        return at[order], row[order]


def _largest(s: np.ndarray, k: int) -> np.ndarray:
    """Columns ``[n, k]`` of the k largest numbers in each row."""
    if k == 1:
        return s.argmax(1)[:, None]
    return torch.from_numpy(s).topk(k, dim=1).indices.numpy()
