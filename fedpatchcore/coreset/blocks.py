"""Greedy k-center over rows that arrive block by block, within a fixed amount of memory.

While all rows fit, the answer is that of `greedy_k_center` on all of them, pick for pick.
Beyond that, full blocks are *reduced* to k rows each, m reduced blocks are merged and reduced
again, and so on, like the carries of a counter to the base m (merge–reduce; Guha, Meyerson,
Mishra, Motwani & O'Callaghan, "Clustering Data Streams", TKDE 2003; two levels of it are the
4-approximation of Malkomes et al., NeurIPS 2015). Written P for all rows, OPT for the least
radius at which *any* k points, rows or not, cover P:

1. *One reduction.* Greedy on a subset S ⊆ P stops with k picks; let r be the distance of the
   farthest row of S to them. Every earlier pick was at least r from those before it (distances
   to a growing selection only shrink), so the picks and that row are k + 1 points pairwise at
   least r apart. Two of them share one of the k best centres, hence r ≤ 2·OPT. Read the
   other way round: OPT ≥ r/2, for the largest r of any reduction made (``at_least``).
2. *A tree of reductions.* A row is within r₁ of a row kept by the first reduction it went
   through, which is within r₂ of one kept by the second, and so on. By the triangle
   inequality the covering radius is at most the largest sum of r's along a path from leaf to
   root. Each buffer carries that sum: the largest of its children's, plus its own r.
3. With 1., a tree of L levels covers within 2·L·OPT (``factor_worst``), whatever the data and
   their order. ``factor`` = radius / ``at_least`` uses the r's that really occurred, and is
   never larger.

With B blocks L is about 1 + logₘ B; m is as large as memory allows, 2 if it is short: fewer
levels prove more and take less time. Memory is bounded for any number of rows: the counter
has room for a thousand blocks (`fedpatchcore.coreset.memory`); what is carried out of its last
place is merged there, at the price of a level each. ``depth`` is what really happened. All
figures hold up to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.coreset.memory import counter_shape, least_memory, row_bytes, rows_at_once
from fedpatchcore.errors import CoresetError

__all__ = ["BlockCoreset", "BlockSelection"]


@dataclass(frozen=True)
class BlockSelection:
    """Chosen rows in order of selection, and what is proved of them.

    Attributes:
        rows: float32 ``[k, D]``.
        ids: int64 ``[k]``, the ids that came with these rows.
        radius: every row ever added lies within this L2 distance of a chosen one.
        radii: float64 ``[k]``, ``radii[m - 1]`` is that bound for the first m rows alone.
        at_least: no k points whatever cover all rows within less than this.
        depth: reductions that the rows went through, at most; 1 for a single block.
        blocks: blocks that were reduced on their own; 1 if all rows fitted.
        seen: rows added.
    """

    rows: np.ndarray
    ids: np.ndarray
    radius: float
    radii: np.ndarray
    at_least: float
    depth: int
    blocks: int
    seen: int

    @property
    def exact(self) -> bool:
        """Whether this is `greedy_k_center` on all rows."""
        return self.blocks == 1

    @property
    def factor(self) -> float:
        """``radius`` over the least possible one is at most this; 1 if it is 0."""
        return self.radius / self.at_least if self.radius > 0 else 1.0

    @property
    def factor_worst(self) -> float:
        """What ``factor`` could at worst have been at this depth."""
        return max(1.0, 2.0 * self.depth)


@dataclass
class _Node:
    """A reduced block: rows, ids, and how far the rows behind it lie from the last merge."""

    rows: np.ndarray
    ids: np.ndarray
    base: float  # of any row behind this node to the rows that its reduction saw
    radii: np.ndarray
    depth: int

    @property
    def radius(self) -> float:
        return self.base + float(self.radii[-1])


@dataclass
class BlockCoreset:
    """Up to ``size`` rows out of a stream. Equal blocks in equal order give equal picks.

    Example: ``chosen = BlockCoreset(500, memory=10**9)``, ``chosen.add(rows)`` for each block
    or image, ``chosen.result()``.

    Args:
        size: rows wanted (k), at least 1.
        memory: bytes that all rows held at one time may take, with what greedy notes of them;
            fixed costs (some 75 MB) come on top. Less than `least_memory` is enough as long as all
            rows fit.
        seed: decides the first pick of each reduction.
        device: where to compute; default the CPU.
    """

    size: int
    memory: int
    seed: int = 0
    device: torch.device | str | None = None
    seen: int = field(default=0, init=False)
    blocks: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise CoresetError(f"coreset size must be at least 1, got {self.size}")
        self._buffer: np.ndarray | None = None  # pages count only once they are written to
        self._ids = np.empty(0, np.int64)
        self._filled = 0
        self._levels: list[list[_Node]] = []  # fewer than ``_base`` nodes each
        self._apart = 0.0  # k + 1 rows are pairwise at least this far apart
        self._result: BlockSelection | None = None

    def add(self, rows: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Take rows ``[n, D]`` in; ``ids`` int64 ``[n]`` say which they are (default: 0, 1, …).

        Raises:
            CoresetError: not a matrix of finite numbers, other dimension than before, ids that
                do not fit (nothing was changed), or memory too small for what is to be kept.
        """
        if self._result is not None:
            raise CoresetError("the selection was made already: rows can no longer be added")
        rows = np.asarray(rows)
        if rows.ndim != 2 or not rows.shape[1]:
            raise CoresetError(f"features must be a matrix [N, D], got {rows.shape}")
        if self._buffer is not None and rows.shape[1] != self._buffer.shape[1]:
            raise CoresetError(
                f"features have dimension {rows.shape[1]}, those before {self._buffer.shape[1]}"
            )
        if ids is None:
            ids = np.arange(self.seen, self.seen + len(rows), dtype=np.int64)
        if np.shape(ids) != (len(rows),):
            raise CoresetError(f"ids of shape {np.shape(ids)} do not fit {len(rows)} rows")
        for at in range(0, len(rows), 4096):
            if not np.isfinite(rows[at : at + 4096]).all():
                raise CoresetError("features hold NaN or infinite values")
        if self._buffer is None:
            self._allocate(rows_at_once(self.size, rows.shape[1], self.memory), rows.shape[1])
        start = 0
        while start < len(rows):
            if self._filled == len(self._buffer):
                self._carry(self._reduced_block())
            end = min(len(rows), start + len(self._buffer) - self._filled)
            into = slice(self._filled, self._filled + end - start)
            self._buffer[into], self._ids[into] = rows[start:end], ids[start:end]
            self._filled, start = into.stop, end
        self.seen += len(rows)

    def result(self) -> BlockSelection:
        """The selection; frees everything else. Raises CoresetError if no row was added."""
        if self._result is None:
            if not self.seen:
                raise CoresetError("features must be a non-empty [N, D] matrix, got no rows")
            node = self._root()
            self._result = BlockSelection(
                node.rows,
                node.ids,
                node.radius,
                node.base + node.radii,
                self._apart / 2,
                max(1, node.depth),
                self.blocks,
                self.seen,
            )
            self._buffer, self._levels = None, []
        return self._result

    def _allocate(self, rows: int, dimension: int) -> None:
        if rows < 1:
            raise CoresetError(
                f"a row of {dimension} values does not fit into {self.memory:,} bytes of memory"
            )
        self._buffer = None
        self._buffer = np.empty((rows, dimension), np.float32)
        self._ids = np.empty(rows, np.int64)

    def _reduced_block(self) -> _Node:
        """The buffer's rows as a node; before the first, the memory is divided anew."""
        dimension = self._buffer.shape[1]
        least = least_memory(self.size, dimension)
        if self.memory < least:
            raise CoresetError(
                f"{self.size:,} rows of {dimension} values out of more than "
                f"{len(self._buffer):,} take at least {least / 1e9:.3g} GB of memory; "
                f"{self.memory / 1e9:.3g} GB are allowed"
            )
        node = self._reduce(0.0, 0)
        if not self.blocks:
            self._base, self._places = counter_shape(self.memory, self.size, dimension)
            row, pick, kept = row_bytes(dimension)
            held = (pick + self._places * (self._base - 1) * kept) * self.size
            self._allocate((self.memory - held) // row, dimension)
        self.blocks += 1
        return node

    def _reduce(self, base: float, depth: int) -> _Node:
        """Greedy on the buffer, which is empty afterwards; ``base``, ``depth`` of what is in it."""
        rows, ids = self._buffer[: self._filled], self._ids[: self._filled]
        chosen = greedy_k_center(rows, self.size, seed=self.seed, device=self.device)
        if len(rows) > self.size:
            self._apart = max(self._apart, chosen.radius)
            depth += 1
        self._filled = 0
        return _Node(rows[chosen.indices], ids[chosen.indices], base, chosen.radii, depth)

    def _merge(self, nodes: list[_Node]) -> _Node:
        """One node for all of them, which are let go of as they are copied into the buffer."""
        base, depth = max(n.radius for n in nodes), max(n.depth for n in nodes)
        while nodes:
            node = nodes.pop(0)
            into = slice(self._filled, self._filled + len(node.rows))
            self._buffer[into], self._ids[into] = node.rows, node.ids
            self._filled = into.stop
            del node
        return self._reduce(base, depth)

    def _carry(self, node: _Node) -> None:
        """Put a node into the counter: so many of one level make one of the next."""
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            nodes = self._levels[level]
            nodes.append(node)
            if len(nodes) < self._base:
                return
            del node
            node = self._merge(nodes)  # which leaves the level empty
            level = min(level + 1, self._places - 1)

    def _root(self) -> _Node:
        """Everything that is left as one node, in as few reductions as the buffer allows."""
        nodes = [n for level in self._levels for n in level]
        self._levels = []
        if self._filled:
            self.blocks += 1
        room = len(self._buffer)
        if self._filled and self._filled + sum(len(n.rows) for n in nodes) <= room:
            return self._merge(nodes) if nodes else self._reduce(0.0, 0)
        if self._filled:
            nodes.insert(0, self._reduce(0.0, 0))
        while len(nodes) > 1:
            count = 2
            while count < len(nodes) and sum(len(n.rows) for n in nodes[: count + 1]) <= room:
                count += 1
            group, nodes = nodes[:count], nodes[count:]
            nodes.insert(0, self._merge(group))
        return nodes[0]
