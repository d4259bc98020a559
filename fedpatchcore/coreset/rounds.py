"""The picks of exact greedy k-center on an accelerator: a round of many for each look at all rows.

The textbook loop reads every row for every pick. Here a round takes the rows with the largest
bounds (`fedpatchcore.coreset.bounds`), the *active* ones, finds their true distances and those
between them, and picks among them alone as long as the farthest of them is farther than the bound
of any other row: then it is the farthest of all. All picks of a round go to all rows in one product
of matrices. Within a round nothing waits for the host: picks are queued, and the host looks now and
then how many of them count.

Of equally far rows the one with the lowest number is picked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedpatchcore.coreset.bounds import Bounds
from fedpatchcore.devices.memory import OutOfMemory, free_bytes
from fedpatchcore.errors import CoresetError

__all__ = ["Picked", "Plan", "pick_in_rounds", "plan"]

log = logging.getLogger("fedpatchcore")

ACTIVE = 8192  # rows at most
LEAST_ACTIVE = 64
BARREN = 2  # rounds without a pick, after which bounds are made sharper
QUEUED = 128  # picks between two looks of the host
SHARE = 0.8  # of the free memory that is planned with
LEAST_BLOCK, MOST_BLOCK = 1 << 10, 1 << 17  # rows multiplied at one time


@dataclass(frozen=True)
class Plan:
    """What a selection will take of a device's memory.

    Attributes:
        needed: bytes, all in all.
        on_device: whether the rows are there; else each round sends them anew.
        active: rows that a round picks from.
        block: rows multiplied at one time.
    """

    needed: int
    on_device: bool
    active: int
    block: int


def plan(rows: Tensor, size: int, device: torch.device, free: int | None = None) -> Plan:
    """The quickest way within the free memory.

    Args:
        rows: ``[N, D]``, anywhere.
        size: centres, with those given.
        free: bytes; None: what the device says.

    Raises:
        CoresetError: not even the least of it fits.
    """
    total, dimension = rows.shape
    may = int(SHARE * (free_bytes(device) if free is None else free))
    here = rows.device == device or device.type == "cpu"
    moving = 0 if here else rows.numel() * rows.element_size()
    wide = min(size, 2048)  # centres in one product

    def taken(active: int, block: int) -> int:
        own = 24 * total + 12 * size * dimension
        few = active * (16 * dimension + 4 * active + 16 * min(size, 2048))
        return own + few + block * (16 * dimension + 8 * wide)

    active = min(ACTIVE, total)
    for on_device in (True, False) if moving else (True,):
        most, block = active, min(MOST_BLOCK, total)
        left = may - (moving if on_device else 0)
        while taken(most, block) > left and (block > LEAST_BLOCK or most > LEAST_ACTIVE):
            if block > LEAST_BLOCK:
                block //= 2
            else:
                most //= 2
        if taken(most, block) <= left or device.type == "cpu":
            needed = taken(most, block) + (moving if on_device else 0)
            return Plan(needed, on_device, max(1, most), max(1, block))
    raise CoresetError(
        f"{total:,} rows of {dimension:,} values take {taken(LEAST_ACTIVE, LEAST_BLOCK) / 1e9:.3g} "
        f"GB on {device}, which has {may / 1e9:.3g} GB free: use device='cpu', or a memory-budget"
    )


@dataclass(frozen=True)
class Picked:
    """Rows in order, and how far (squared) each was when it was picked; and what is left.

    Attributes:
        farthest: squared distance of the farthest row to all centres.
        bounds: what it cost, in ``bounds.moved``.
    """

    at: list[int]
    reach: list[float]
    farthest: float
    bounds: Bounds


def pick_in_rounds(
    rows: Tensor,
    size: int,
    device: torch.device,
    *,
    first: Tensor | None = None,
    given: Tensor | None = None,
    enough: float = 0.0,
    progress: Callable[[int], None] = lambda picks: None,
) -> Picked:
    """The farthest row again and again, ``size`` times, or until all are within ``enough``.

    Args:
        rows: ``[N, D]`` float32 or float16.
        first: int64 ``[m]``, rows that are centres already; given: float32 ``[m, D]``, centres that
            are no rows of these. There must be a centre.
        enough: squared distance at which to stop.
        progress: told now and then how many are picked.

    Raises:
        CoresetError: bad rows or centres, or a device without room even for a part of them.
    """
    begun = sum(len(one) for one in (first, given) if one is not None)
    how = plan(rows, size + begun, device)
    for last in (False, True):
        where = "there" if how.on_device else "in the host's memory"
        told = f"{len(rows):,} rows {where}, at most {how.needed / 1e9:.3g} GB"
        log.info("k-center on %s: %s", device, told)
        try:
            return _picked(rows, size, device, how, first, given, enough, progress)
        except OutOfMemory:
            if last:
                break
        torch.cuda.empty_cache()
        how = Plan(how.needed, False, max(1, how.active // 4), max(1, how.block // 4))
        log.warning("k-center: out of memory on %s, begun anew in smaller blocks", device)
    raise CoresetError(f"{device} has less memory than it said ({told}): use device='cpu'")


def _picked(
    rows: Tensor,
    size: int,
    device: torch.device,
    how: Plan,
    first: Tensor | None,
    given: Tensor | None,
    enough: float,
    progress: Callable[[int], None],
) -> Picked:
    begun = sum(len(one) for one in (first, given) if one is not None)
    if how.on_device:
        rows = rows.to(device)
    bounds = Bounds(rows, device, size + begun, how.block)
    if given is not None:
        bounds.add_given(given)
    if first is not None:
        bounds.add(bounds.taken(first.to(device)))
    picked: list[int] = []
    reach: list[float] = []
    barren = 0
    while True:
        if barren > BARREN and not bounds.sharp:
            bounds.sharpen()
            barren = 0
        barren += 1
        active, outside, tied = _active(bounds.bound, how.active)
        here = bounds.taken(active)
        stale = torch.nonzero(~bounds.sure[active])[:, 0]
        bounds.bound[active[stale]] = bounds.exact(here[stale])
        bounds.sure[active] = True
        farthest = float(bounds.bound[active].max())
        if farthest < outside:
            continue  # these bounds were too high; the next look sees others on top
        if len(picked) == size or farthest <= enough:
            return Picked(picked, reach, farthest, bounds)
        likely = torch.nonzero(bounds.bound[active] >= outside)[:, 0]
        active, here = active[likely], here[likely]
        bound = bounds.bound[active]
        table = bounds.pairwise(here)
        limit = size - len(picked)
        at, far = _queue(bound, table, active < tied, outside, enough, limit)
        if not at:
            continue
        barren = 0
        chosen = torch.tensor(at, device=device)
        bounds.add(here[chosen])
        bounds.bound[active], bounds.sure[active] = bound, True
        picked += active[chosen].tolist()
        reach += far
        progress(len(picked))


def _active(bound: Tensor, most: int) -> tuple[Tensor, float, int]:
    """The rows with the largest bounds, in order of number; the largest of the others, and whose.

    Of equal bounds the lower numbers come first. Without others: −1, and a number beyond all.
    """
    if len(bound) <= most:
        return torch.arange(len(bound), device=bound.device), -1.0, len(bound)
    last = bound.topk(most, sorted=False).values.min()
    above = torch.nonzero(bound > last)[:, 0]
    equal = torch.nonzero(bound == last)[: most - len(above), 0]
    active = torch.cat([above, equal]).sort().values
    others = bound.clone()
    others[active] = -1
    outside, whose = others.max(0)
    return active, float(outside), int(whose)


def _queue(
    bound: Tensor, table: Tensor, before_tied: Tensor, outside: float, enough: float, limit: int
) -> tuple[list[int], list[float]]:
    """Positions picked, and how far each was; ``bound`` is lowered by them.

    Args:
        bound: ``[m]``, distances of the active rows; table: ``[m, m]``, those between them.
        before_tied: bool ``[m]``, rows that may be picked when just as far as ``outside``.
        outside, enough: picks are farther than both.
    """
    at: list[int] = []
    reach: list[float] = []
    spare = torch.empty_like(table[:1])
    while len(at) < limit:
        count = min(QUEUED, limit - len(at))
        before = bound.clone()
        far = torch.empty(count, device=bound.device)
        where = torch.empty(count, dtype=torch.long, device=bound.device)
        for value, place in zip(far.split(1), where.split(1), strict=True):
            torch.max(bound, 0, keepdim=True, out=(value, place))
            torch.index_select(table, 0, place, out=spare)
            torch.minimum(bound, spare[0], out=bound)
        counts = (far > enough) & ((far > outside) | ((far == outside) & before_tied[where]))
        good = int(counts.long().cumprod(0).sum())
        at += where[:good].tolist()
        reach += far[:good].tolist()
        if good < count:
            bound.copy_(before)
            if good:
                torch.minimum(bound, table[where[:good]].amin(0), out=bound)
            break
    return at, reach
