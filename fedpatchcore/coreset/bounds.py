"""Upper bounds of N rows' distances to a growing set of centres, by products of whole blocks.

For an accelerator, whose memory is slow beside its arithmetic: rows are read once for many centres.
With norms and products of numbers moved to the middle of the rows,

    ‖x − c‖² = ‖x‖² + ‖c‖² − 2 x·c,

wrong by a known share of ‖x‖² + ‖c‖² at most: each row keeps an upper bound of the true number, and
whether it is that number itself (``sure``). Of the few rows that can be the farthest, `exact` finds
it: in float64 this leaves one or two centres, and these are measured by differences, right down to
zero. No distance is ever taken from a bound. So factors may be cut to TF32, which a GPU multiplies
several times faster; where rows lie so near to one another that this tells none of them apart, they
are kept whole, and if that is not enough, made float64 (`sharpen`).

The rows may lie in the host's memory, where the device has no room for them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedpatchcore.coreset.sketch import middle_of, why_not_finite
from fedpatchcore.devices.memory import in_blocks
from fedpatchcore.devices.precision import TF32_UNIT, ieee, tf32
from fedpatchcore.errors import CoresetError

__all__ = ["Bounds", "Moved", "differences", "product_slack"]

UNIT, FINE_UNIT = 2.0**-24, 2.0**-53  # largest relative rounding errors
PAIRS = 1 << 14  # measured by differences at one time
NEAR = 2.0**26  # times the error of a float64 product: nearer pairs are measured by differences
CENTRES = 2048  # multiplied at one time


@dataclass
class Moved:
    """What was read and written in the device's memory, and multiplied, by intention.

    Attributes:
        bytes: of rows, tables and bounds; caches may have spared some of it.
        flops: of products, a multiplication and an addition being two.
        rounds: times that all rows were read.
        measured: rows whose distance was found exactly.
    """

    bytes: int = 0
    flops: int = 0
    rounds: int = 0
    measured: int = 0

    def product(self, rows: int, columns: int, inner: int, size: int) -> None:
        """Note one product of matrices, its table written and read once."""
        self.flops += 2 * rows * columns * inner
        self.bytes += size * (rows * inner + columns * inner + 2 * rows * columns)


@dataclass(frozen=True)
class _Level:
    """How bounds are made: the type of the factors, the share they give way by, what is allowed."""

    kind: torch.dtype
    slack: float
    products: Callable[[torch.device], AbstractContextManager]


def product_slack(dimension: int, unit: float) -> float:
    """Share of ‖x‖² + ‖c‖² that a product's error is below: factors cut by ``unit``, D summands.

    Sums may be rounded to 22 bits, as a GPU's tensor cores do.
    """
    return 2 * unit + unit**2 + (dimension + 16) * 2.0**-22


@dataclass
class Bounds:
    """Squared distances of all rows to the centres so far, from above.

    Args:
        rows: ``[N, D]`` float32 or float16, on the device or on the host.
        device: where to compute.
        capacity: centres that will be added at most.
        block: rows that are multiplied at one time.
        table: numbers of float64 in a table at one time.

    Attributes:
        bound: float32 ``[N]``; infinite before the first centre.
        sure: bool ``[N]``, whether the bound is the distance itself.

    Raises:
        CoresetError: rows that are NaN, infinite or too long for float32.
    """

    rows: Tensor
    device: torch.device
    capacity: int
    block: int
    table: int = 1 << 24
    moved: Moved = field(default_factory=Moved)

    def __post_init__(self) -> None:
        total, dimension = self.rows.shape
        self.fine = (2 * dimension + 16) * FINE_UNIT
        self._levels = [
            _Level(torch.float32, product_slack(dimension, TF32_UNIT), tf32),
            _Level(torch.float32, (2 * dimension + 16) * UNIT, ieee),
            _Level(torch.float64, self.fine, ieee),
        ]
        middle = middle_of(self.rows)
        self._middle = None if middle is None else middle.to(self.device)
        self.bound = torch.full((total,), torch.inf, device=self.device)
        self.sure = torch.zeros(total, dtype=torch.bool, device=self.device)
        self._norms = torch.empty(total, device=self.device)
        self._centres = torch.empty(
            self.capacity, dimension, dtype=torch.float64, device=self.device
        )
        self.count = 0
        self.block = in_blocks(self._measure, total, self.block, what="norms of rows")
        if not torch.isfinite(self._norms).all():
            raise CoresetError(why_not_finite(self.rows))

    def _measure(self, block: slice) -> None:
        self._norms[block] = torch.linalg.vector_norm(self._part(block), dim=1).square_()

    def _part(self, block: slice) -> Tensor:
        """Rows of a block, float32 and moved to the middle, on the device."""
        part = self.rows[block].to(self.device, non_blocking=True).float()
        return part if self._middle is None else part - self._middle

    def taken(self, at: Tensor) -> Tensor:
        """Rows number ``at`` as float64, moved to the middle: ``[m, D]``."""
        rows = self.rows.index_select(0, at.to(self.rows.device)).to(self.device)
        return self._moved(rows)

    def _moved(self, rows: Tensor) -> Tensor:
        rows = rows.double()
        return rows if self._middle is None else rows.sub_(self._middle)

    def add_given(self, centres: Tensor) -> None:
        """Centres ``[m, D]`` float32 that are no rows of these."""
        centres = self._moved(centres.to(self.device))
        if not torch.isfinite(centres.square().sum(1).float()).all():
            raise CoresetError(why_not_finite(centres))
        self.add(centres)

    def add(self, centres: Tensor) -> None:
        """Further centres, as `taken` gives them; all bounds are lowered."""
        first, self.count = self.count, self.count + len(centres)
        self._centres[first : self.count] = centres
        self._lower_all(first)

    @property
    def sharp(self) -> bool:
        """Whether bounds are as near to the truth as can be."""
        return len(self._levels) == 1

    def sharpen(self) -> None:
        """Make these bounds, and all that follow, with a smaller error."""
        del self._levels[0]
        sure = self.sure.clone()
        self._lower_all(0)
        self.sure.copy_(sure)  # no centre is new

    def _lower_all(self, first: int) -> None:
        """Lower the bounds of all rows to the centres from ``first`` on."""
        self.moved.rounds += 1
        kind = self._levels[0].kind
        for start in range(first, self.count, CENTRES):
            few = self._centres[start : min(self.count, start + CENTRES)].to(kind)
            norms = few.square().sum(1)

            def lower(block: slice, few: Tensor = few, norms: Tensor = norms) -> None:
                self._lower(block, few, norms)

            self.block = in_blocks(lower, len(self.rows), self.block, what="k-center")

    def _lower(self, block: slice, centres: Tensor, norms: Tensor) -> None:
        how = self._levels[0]
        slack, part = how.slack, self._part(block).to(how.kind)
        with how.products(self.device):
            table = torch.addmm(norms * (1 - slack), part, centres.T, alpha=-2)
        self.moved.product(len(part), len(centres), part.shape[1], part.element_size())
        low, nearest = table.min(1)
        own = part.square().sum(1) if self.sharp else self._norms[block]
        low += own * (1 - slack)  # not above the distance to any of these centres
        high = low + 2 * slack * (own + norms[nearest])  # not below that to the nearest
        bound, sure = self.bound[block], self.sure[block]
        sure &= low >= bound
        torch.minimum(bound, high.float() * (1 + 2 * UNIT), out=bound)

    def exact(self, rows: Tensor) -> Tensor:
        """Squared distances float32 ``[m]`` of rows that `taken` gave, to the nearest centre."""
        found = torch.empty(len(rows), device=self.device)
        centres = self._centres[: self.count]
        norms = centres.square().sum(1)
        self.moved.measured += len(rows)

        def nearest(block: slice) -> None:
            part = rows[block]
            own = part.square().sum(1)
            table = torch.addmm(norms * (1 - self.fine), part, centres.T, alpha=-2)
            self.moved.product(len(part), len(centres), part.shape[1], 8)
            low, first = table.min(1)
            limit = low + 2 * self.fine * (own + norms[first])
            row, centre = torch.nonzero(table <= limit[:, None], as_tuple=True)
            best = torch.full((len(part),), torch.inf, device=self.device)
            best.scatter_reduce_(0, row, differences(part, row, centres, centre), "amin")
            found[block] = best

        in_blocks(nearest, len(rows), max(1, self.table // max(1, self.count)), what="k-center")
        return found

    def pairwise(self, rows: Tensor) -> Tensor:
        """Squared distances float32 ``[m, m]`` between rows that `taken` gave."""
        found = torch.empty(len(rows), len(rows), device=self.device)
        norms = rows.square().sum(1)

        def fill(block: slice) -> None:
            part, own = rows[block], norms[block]
            table = torch.addmm(norms, part, rows.T, alpha=-2).add_(own[:, None])
            self.moved.product(len(part), len(rows), part.shape[1], 8)
            near = table < NEAR * self.fine * (own[:, None] + norms)
            one, other = torch.nonzero(near, as_tuple=True)
            found[block] = table
            found[block].index_put_((one, other), differences(part, one, rows, other))

        in_blocks(fill, len(rows), max(1, self.table // len(rows)), what="k-center")
        return found


def differences(x: Tensor, at: Tensor, y: Tensor, to: Tensor) -> Tensor:
    """‖x[at] − y[to]‖² as float32 ``[P]``, computed in the type of ``x`` and ``y``."""
    found = torch.empty(len(at), device=x.device)

    def measure(block: slice) -> None:
        apart = x.index_select(0, at[block]).sub_(y.index_select(0, to[block]))
        found[block] = apart.square_().sum(1)

    in_blocks(measure, len(at), PAIRS, what="distances")
    return found
