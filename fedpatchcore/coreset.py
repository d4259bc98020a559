"""Greedy k-center: the few patches that leave no patch far from all of them.

Farthest-point selection (Gonzalez, 1985; Sener & Savarese, ICLR 2018; PatchCore section
3.2): start from one seeded point, then take again and again the point farthest from all
taken so far. The covering radius is at most twice the best possible one.

The picks are those of the textbook loop (points equally far to within float32 rounding may
swap); the work is not. Every point carries an upper
bound of its distance to the selection (distances only shrink), and only the points with the
largest bounds are kept current. As long as the farthest current point is at least as far as
every other point's bound, nobody else can be the next pick, so all others wait; what they
missed is made up later, many centres at a time, in one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.errors import CoresetError

__all__ = ["CoresetSelection", "greedy_k_center", "random_coreset", "selector"]

Progress = Callable[[int, int], None]
CENTRES_A_BLOCK = 1024
ROWS_A_BLOCK = 4096
NOISE = 3e-6  # rounding of ‖x‖² − 2x·c + ‖c‖² in float32, relative to ‖x‖²
DOUBT = 1e-3  # below this share of ‖x‖² a distance is computed again by differences


@dataclass(frozen=True)
class CoresetSelection:
    """Chosen rows in order of selection, and how well they cover.

    Attributes:
        indices: int64 ``[k]``, distinct rows; any prefix is the coreset of that size.
        radius: largest L2 distance of any row to its nearest chosen row (or given centre).
        radii: float64 ``[k]``, ``radii[m - 1]`` is the radius of the first m rows (greedy
            gives it for free: it is how far pick m + 1 was); NaN where not measured.
    """

    indices: np.ndarray
    radius: float
    radii: np.ndarray


def _checked(features: np.ndarray | Tensor, size: int) -> Tensor:
    rows = torch.as_tensor(features)
    if rows.dim() != 2 or 0 in rows.shape:
        raise CoresetError(f"features must be a non-empty [N, D] matrix, got {tuple(rows.shape)}")
    if size < 1:
        raise CoresetError(f"coreset size must be at least 1, got {size}")
    for block in rows.split(1 << 16):
        if not torch.isfinite(block).all():
            raise CoresetError("features hold NaN or infinite values")
    return rows


class _Selector:
    """Distances of N points to a growing set of centres, kept current only where it matters."""

    def __init__(self, rows: Tensor, device: torch.device, capacity: int) -> None:
        # distances come from inner products: a centred cloud loses fewer digits, and the
        # median, unlike the mean, stays in the cloud when some rows are enormous
        sample = rows[:: max(1, len(rows) // 4096)].to(dtype=torch.float32)
        self.middle = sample.median(0).values.to(device)
        self.x = rows.to(device=device, dtype=torch.float32, copy=True).sub_(self.middle)
        self.norms = torch.linalg.vector_norm(self.x, dim=1).square_()
        self.bound = torch.full_like(self.norms, torch.inf)  # squared, never below the truth
        self.seen = torch.zeros(len(rows), dtype=torch.long, device=device)
        self.centres = torch.empty(capacity, rows.shape[1], device=device)
        self.centre_norms = torch.empty(capacity, device=device)
        self.count = 0

    def add(self, centre: Tensor) -> None:
        """Append centred centre(s) ``[m, D]``; nobody's bound is updated yet."""
        m = len(centre)
        self.centres[self.count : self.count + m] = centre
        self.centre_norms[self.count : self.count + m] = centre.square().sum(1)
        self.count += m

    def refresh(self, rows: Tensor) -> None:
        """Bring the bounds of ``rows`` (indices) up to date with all centres."""
        rows = rows[torch.argsort(self.seen[rows])]
        since = self.seen[rows]
        start = 0
        while start < len(rows):
            first = int(since[start])
            if first == self.count:
                break
            # rows of similar age share one product; mixing ages would repeat finished work
            limit = first + max(32, (self.count - first) // 4)
            age = since[start : start + ROWS_A_BLOCK]
            end = start + int(torch.searchsorted(age, limit, right=True))
            block = rows[start:end]
            x, best = self.x[block], self.bound[block]
            for low in range(first, self.count, CENTRES_A_BLOCK):
                high = min(self.count, low + CENTRES_A_BLOCK)
                products = torch.addmm(
                    self.centre_norms[low:high], x, self.centres[low:high].T, alpha=-2
                )
                best = torch.minimum(best, products.amin(1) + self.norms[block] * (1 + NOISE))
            self.bound[block] = best.clamp_(min=0)
            self.seen[block] = self.count
            start = end

    def exact(self, row: int) -> float:
        """Squared distance of one point to the centres by differences, free of cancellation."""
        blocks = self.centres[: self.count].split(CENTRES_A_BLOCK)
        return min(float((b - self.x[row]).square().sum(1).min()) for b in blocks)

    def doubtful(self, row: int, value: float) -> bool:
        """Whether rounding could matter in a squared distance of this size."""
        return value <= DOUBT * float(self.norms[row])


def greedy_k_center(
    features: np.ndarray | Tensor,
    size: int,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    centres: np.ndarray | None = None,
    stop_radius: float = 0.0,
) -> CoresetSelection:
    """Select up to ``size`` rows of ``features [N, D]`` by exact farthest-point greedy.

    Deterministic: equal features, size and seed give equal picks on the same device. Stops
    early once every row is chosen or a duplicate of a chosen one (radius 0). Memory is one
    float32 copy of the features plus the centres: O(N·D + k·D).

    Args:
        size: rows wanted, at least 1.
        seed: decides the first pick (unused when ``centres`` are given).
        device: where to compute; default the CPU.
        progress: called with (picked, size) now and then.
        centres: ``[M, D]`` rows that already belong to the selection; only what they leave
            uncovered is selected, and the radius counts them.
        stop_radius: stop as soon as every row is covered within this L2 distance.

    Raises:
        CoresetError: empty, non-finite or non-matrix features, or ``size`` below 1.
    """
    rows = _checked(features, size)
    size, total = min(size, len(rows)), len(rows)
    given = 0 if centres is None else len(centres)
    state = _Selector(rows, torch.device(device or "cpu"), size + given)
    picked: list[int] = []
    reach: list[float] = []  # squared radius before each pick

    def take(row: int) -> None:
        picked.append(row)
        state.add(state.x[row : row + 1])
        if progress and (len(picked) % 64 == 0 or len(picked) == size):
            progress(len(picked), size)

    if given:
        known = torch.as_tensor(centres, dtype=torch.float32).to(state.x.device)
        state.add(known - state.middle)
    else:
        take(int(np.random.default_rng(seed).integers(total)))
    width = min(total, max(256, min(4096, total // 16)))
    exact_at: dict[int, int] = {}  # row → number of centres its bound is exact for
    enough = stop_radius**2 * (1 + 1e-6)

    while True:
        bounds, active = torch.topk(state.bound, min(width + 1, total))
        outside = float(bounds[-1]) if total > width else -1.0
        active = active[:width].sort().values
        state.refresh(active)
        current = state.bound[active]
        active = active[current >= outside]
        if not len(active):
            continue  # these bounds were stale; the next look sees others on top
        x, norms = state.x[active], state.norms[active]
        padded = norms * (1 + NOISE)
        current = state.bound[active]
        finished = False
        while (value := float(current[at := int(current.argmax())])) >= outside:
            row = int(active[at])
            doubt = state.doubtful(row, value) or value < 1.001 * enough
            if doubt and exact_at.get(row) != state.count:
                current[at] = min(value, state.exact(row))
                exact_at[row] = state.count
                continue
            if len(picked) == size or value <= enough:
                finished = True
                break
            reach.append(value)
            take(row)
            distance = torch.addmv(padded, x, x[at], alpha=-2).add_(norms[at]).clamp_(min=0)
            torch.minimum(current, distance, out=current)
            current[at] = 0
        state.bound[active] = current
        state.seen[active] = state.count
        if finished:
            break
    radius = float(np.sqrt(state.exact(row)))
    radii = np.sqrt(reach[len(reach) - len(picked) + 1 :] + [radius**2]) if picked else np.empty(0)
    return CoresetSelection(np.asarray(picked, dtype=np.int64), radius, radii)


def random_coreset(
    features: np.ndarray | Tensor, size: int, *, seed: int = 0, device: str | None = None
) -> CoresetSelection:
    """``size`` distinct rows drawn uniformly; the radius is measured, as for k-center."""
    rows = _checked(features, size)
    size = min(size, len(rows))
    indices = np.random.default_rng(seed).permutation(len(rows))[:size].astype(np.int64)
    state = _Selector(rows, torch.device(device or "cpu"), size)
    state.add(state.x[torch.as_tensor(indices, device=state.x.device)])
    state.refresh(torch.arange(len(rows), device=state.x.device))
    farthest = int(state.bound.argmax())
    radius = float(np.sqrt(state.exact(farthest)))
    return CoresetSelection(indices, radius, np.append(np.full(size - 1, np.nan), radius))


def selector(method: str) -> Callable[..., CoresetSelection]:
    """The selection that the run-config value ``coreset`` names: ``k-center`` or ``random``."""
    return random_coreset if method == "random" else greedy_k_center
