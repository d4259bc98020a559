"""Exact nearest rows on a GPU, by torch alone.

The bounds of all pairs are one matrix product, whose factors may be cut to TF32: some times faster,
and wrong by a known share of ‖q‖² + ‖x‖² at most. Each query's most promising rows are measured by
differences of the float32 numbers as given; what bounds cannot rule out after that is measured too,
mostly a handful of rows. The answer is that of measuring every pair: the row at the smallest
distance, of equally near ones that with the lowest number.

A bank that the device has no room for stays in the host's memory and passes through in blocks.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.coreset.bounds import differences, product_slack
from fedpatchcore.coreset.sketch import middle_of
from fedpatchcore.devices.memory import OutOfMemory, free_bytes, in_blocks
from fedpatchcore.devices.precision import TF32_UNIT, tf32
from fedpatchcore.errors import BankError

__all__ = ["DeviceSearch"]

log = logging.getLogger("fedpatchcore")

SHARE = 0.6  # of the free memory, that a bank may take
TABLE = 1 << 28  # numbers in a table of bounds, at most
BYTES = 32  # of memory for each of them: the table, what is below its limit, and where
QUERIES = 2048  # at one time
MANY_PAIRS = 1 << 22  # measured at one time
ENORMOUS = 1e36  # squared lengths of which nothing is known


class DeviceSearch:
    """The ``k`` nearest of rows ``[M, D]`` by L2 distance, ties to the lower row number.

    Args:
        rows: must not change afterwards.
        device: where to compute.
        cut: whether factors may be cut to TF32 (`fedpatchcore.devices.precision`).
    """

    def __init__(self, rows: np.ndarray, device: torch.device, *, cut: bool = True) -> None:
        self.device = device
        self._rows = _there(torch.from_numpy(np.ascontiguousarray(rows, np.float32)), device)
        self._slack = product_slack(rows.shape[1], TF32_UNIT if cut else 0.0)
        self._middle = middle_of(self._rows)
        if self._middle is not None:
            self._middle = self._middle.to(device)
        self._norms = torch.empty(len(rows), device=device)
        in_blocks(self._measure, len(rows), TABLE // QUERIES, what="norms of a bank")
        self._lost = bool(torch.isinf(self._norms).any())
        self._table = min(TABLE, free_bytes(device) // BYTES)

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances float32 ``[Q, k]``, nearest first, and row numbers int64 ``[Q, k]``.

        Raises:
            BankError: a query is not finite.
        """
        given = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        squared = torch.full((len(given), k), torch.inf, device=self.device)
        numbers = torch.full((len(given), k), -1, dtype=torch.long, device=self.device)
        for some in range(0, len(given), QUERIES):
            part = slice(some, some + QUERIES)
            self._some(given[part].to(self.device), squared[part], numbers[part])
        return squared.sqrt_().cpu().numpy(), numbers.cpu().numpy()

    def _measure(self, block: slice) -> None:
        self._norms[block] = self._moved(self._rows[block].to(self.device))[1]

    def _moved(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows moved to the middle, and their squared lengths; of enormous ones 0 and infinity."""
        if self._middle is not None:
            rows = rows - self._middle
        squares = torch.linalg.vector_norm(rows, dim=1).square_()
        lost = ~(squares < ENORMOUS)
        return rows, squares.masked_fill_(lost, torch.inf)

    def _some(self, queries: Tensor, squared: Tensor, numbers: Tensor) -> None:
        """Fill in what is nearest to a few thousand queries."""
        if not torch.isfinite(queries).all():
            raise BankError("queries hold NaN or infinite values: check the images' features")
        moved, lengths = self._moved(queries)
        moved = moved.masked_fill(torch.isinf(lengths)[:, None], 0)

        def look(block: slice) -> None:
            self._block(block, queries, moved, lengths, squared, numbers)

        planned = max(1, min(self._table // len(queries), len(self)))
        block = in_blocks(look, len(self), planned, what="search")
        if block < planned:
            self._table = block * len(queries)

    def _block(
        self,
        block: slice,
        queries: Tensor,
        moved: Tensor,
        lengths: Tensor,
        squared: Tensor,
        numbers: Tensor,
    ) -> None:
        """See whether rows of a block are nearer than what was found before."""
        rows = self._rows[block].to(self.device, non_blocking=True)
        norms, k = self._norms[block], squared.shape[1]
        there = rows if self._middle is None else rows - self._middle
        if self._lost:
            there = there.masked_fill(torch.isinf(norms)[:, None], 0)
        with tf32(self.device):  # −2 q·x + ‖x‖², never above the truth
            table = torch.addmm(norms * (1 - self._slack), moved, there.T, alpha=-2)
        likely = table.argmin(1)[:, None] if k == 1 else table.topk(min(k, len(rows)), 1, False)[1]
        at = torch.arange(len(queries), device=self.device).repeat_interleave(likely.shape[1])
        known = differences(queries, at, rows, likely.flatten()).view(likely.shape)
        nearest = torch.cat([squared, known], 1).sort(1).values[:, k - 1]
        limit = nearest * (1 + 4 * (rows.shape[1] + 16) * 2.0**-24) - lengths * (1 - self._slack)
        limit = limit.masked_fill(torch.isinf(lengths), torch.inf)
        open_ = (table <= limit[:, None]).scatter_(1, likely, True)
        step = len(queries)
        if step * len(rows) > MANY_PAIRS and int(open_.sum()) > MANY_PAIRS:
            step = max(1, MANY_PAIRS // len(rows))
        found = [squared.clone(), numbers.clone()]
        for some in range(0, len(queries), step):
            part = slice(some, some + step)
            at, row = torch.nonzero(open_[part], as_tuple=True)
            apart = differences(queries[part], at, rows, row)
            for kept, new in zip(
                found,
                _nearest(found[0][part], found[1][part], at, row + block.start, apart),
                strict=True,
            ):
                kept[part] = new
        squared.copy_(found[0])
        numbers.copy_(found[1])


def _nearest(
    squared: Tensor, numbers: Tensor, at: Tensor, row: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    """The k nearest of what was found before ``[n, k]`` and of further pairs, in order of rows.

    Among equally near rows those found before come first, then the lower numbers.
    """
    count, k = squared.shape
    every = torch.arange(count, device=at.device)
    at = torch.cat([every.repeat_interleave(k), at])
    row = torch.cat([numbers.flatten(), row])
    apart = torch.cat([squared.flatten(), apart])
    order = apart.argsort(stable=True)
    order = order[at[order].argsort(stable=True)]
    first = torch.searchsorted(at[order], every)[:, None] + torch.arange(k, device=at.device)
    chosen = order[first]
    return apart[chosen], row[chosen]


def _there(rows: Tensor, device: torch.device) -> Tensor:
    """The rows on the device, or where they are if it has no room for them."""
    needed = rows.numel() * rows.element_size()
    if device.type == "cpu" or needed <= SHARE * free_bytes(device):
        try:
            return rows.to(device)
        except OutOfMemory:  # somebody else was quicker
            pass
    log.warning(
        "a bank of %.3g GB stays in the host's memory: %s has no room for it", needed / 1e9, device
    )
    return rows
