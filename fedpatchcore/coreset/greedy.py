"""Greedy k-center: the few patches that leave no patch far from all of them.

Farthest-point selection (Gonzalez, 1985; Sener & Savarese, ICLR 2018; PatchCore section
3.2): start from one seeded point, then take again and again the point farthest from all
taken so far. The covering radius is at most twice the best possible one.

The picks are those of the textbook loop (points equally far to within float32 rounding may
swap); the work is not. Every point carries an upper bound of its distance to the selection
(distances only shrink), and only the points with the largest bounds, the *active* ones, are
kept current. As long as the farthest active point is at least as far as every other
point's bound, nobody else can be the next pick, so all others wait (`distances`); what they
missed is made up later, for many centres at a time, and mostly in a few dozen dimensions
(`sketch`). Only distances that decide something are computed, and those exactly (`active`).

That is a CPU's way. An accelerator multiplies more than it reads: there `rounds` makes many picks
for each look at all rows. Both make the same picks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.coreset.active import Active, pick_one_by_one
from fedpatchcore.coreset.distances import Distances
from fedpatchcore.coreset.rounds import pick_in_rounds
from fedpatchcore.coreset.sketch import Sketch
from fedpatchcore.errors import CoresetError

__all__ = ["CoresetSelection", "costs", "greedy_k_center", "random_coreset", "selector"]

Progress = Callable[[int, int], None]
FEW, MANY = 30, 46  # directions of the sketch: with two more numbers a row fills cache lines
MANY_CENTRES = 1000  # from which more directions pay
ACTIVE, ACTIVE_SHARE = 4096, 32  # active rows at most: so many, or one in so many of all
OF_OFFSET = 64  # rows whose median is taken off float64 features
LARGEST_RADIUS = 1e18  # whose square float32 can hold
ROWS_AT_ONCE = 4096  # turned into float32


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


def _tensor(array: np.ndarray | Tensor, dtype: torch.dtype | None = None) -> Tensor:
    with warnings.catch_warnings():  # torch warns of arrays that may not be written; nobody will
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.as_tensor(array, dtype=dtype)


def _by_rounds(device: torch.device) -> bool:
    """Whether picks are made in rounds there."""
    return device.type != "cpu"


def _checked(
    features: np.ndarray | Tensor, size: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Float32 or float16 rows ``[N, D]``, and what was taken off them (float64 ``[D]``) if any.

    They lie in the host's memory, or on ``device`` if they did already.
    """
    rows = _tensor(features).detach()
    if rows.dim() != 2 or 0 in rows.shape:
        raise CoresetError(f"features must be a non-empty [N, D] matrix, got {tuple(rows.shape)}")
    if size < 1:
        raise CoresetError(f"coreset size must be at least 1, got {size}")
    rows = rows if rows.device == device else rows.cpu()
    if rows.dtype in (torch.float32, torch.float16):
        return rows, None
    # digits that float32 has no room for may be all that tells rows far from the origin apart
    offset = rows[:: -(-len(rows) // OF_OFFSET)].double().median(0).values
    single = torch.empty(rows.shape, dtype=torch.float32, device=rows.device)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        single[block] = rows[block].double() - offset
    return single, offset


def _width(dimension: int, centres: int) -> int:
    """Directions of the sketch: describing a row costs the same for few centres as for many."""
    return max(1, min(FEW if centres < MANY_CENTRES else MANY, dimension // 4))


def costs(dimension: int) -> tuple[int, int]:
    """Bytes that `greedy_k_center` takes beside float32 rows on a CPU: a row, and a pick.

    A row: q + 2 numbers of the sketch, norm, bound and age, its place in the order of bounds
    (int64), and a part of 12 bytes in what is copied of the active rows. A pick: the row, its
    sketch, and number and distance as Python and as NumPy keep them (92 bytes). Tables and
    the sample come on top: some 75 MB, whatever the number of rows.
    """
    width = _width(dimension, MANY_CENTRES)
    return 4 * (width + 5) + 8 + 12, 4 * (dimension + width + 2) + 92


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

    Distances below some 1e-20 are 0, for float32 knows no smaller squares.
    Deterministic: equal features, size and seed give equal picks on the same device. Stops
    early once every row is chosen or a duplicate of a chosen one (radius 0). Float32 and
    float16 features are used where they are, without a copy (on an accelerator: one copy there, if
    it has room), others as one float32 copy after their median was taken off. Memory beside them:
    `costs`, on an accelerator `fedpatchcore.coreset.rounds.plan`.

    Args:
        size: rows wanted, at least 1.
        seed: decides the first pick (unless ``centres`` are given).
        device: where to compute; default the CPU.
        progress: called with (picked, size) now and then.
        centres: ``[M, D]`` rows that already belong to the selection; only what they leave
            uncovered is selected, and the radius counts them.
        stop_radius: stop as soon as every row is covered within this L2 distance.

    Raises:
        CoresetError: empty, non-finite or non-matrix features, ``size`` below 1, a negative
            ``stop_radius``, or centres that do not fit.
    """
    device = _settled(device)
    rows, offset = _checked(features, size, device)
    if not 0 <= stop_radius < LARGEST_RADIUS:
        raise CoresetError(
            f"a radius to stop at must be 0 or more, and below {LARGEST_RADIUS:g}: {stop_radius}"
        )
    if centres is not None and (centres.ndim != 2 or centres.shape[1] != rows.shape[1]):
        raise CoresetError(f"centres of shape {centres.shape} do not fit rows of {rows.shape[1]}")
    if centres is not None and not np.isfinite(centres).all():
        raise CoresetError("centres hold NaN or infinite values")
    size, total = min(size, len(rows)), len(rows)
    given = 0 if centres is None else len(centres)
    picked: list[int] = []
    reach: list[float] = []  # squared distance of each pick when it was picked
    first = None if given else int(np.random.default_rng(seed).integers(total))
    enough = float(np.float32(stop_radius**2 * (1 + 1e-6)))  # compared with float32 numbers
    if given:
        shifted = centres if offset is None else centres - offset.cpu().numpy()
        centres = _tensor(shifted, torch.float32)
    if _by_rounds(device):
        return _in_rounds(rows, size, device, first, centres, enough, progress)
    sketch = Sketch(rows, _width(rows.shape[1], size + given), seed)
    state = Distances(rows, size + given, sketch, first)
    if given:
        state.add_given(centres, sketch)
    else:
        picked.append(first)
    most = max(ACTIVE, total // ACTIVE_SHARE)
    while True:
        active, outside = state.farthest(most)
        state.refresh(active, outside)
        active = active[state.bound[active] >= outside]
        if not len(active):
            continue  # these bounds were stale; the next look sees others on top
        here = Active(rows, active, state.z[active], state.low[active], state.bound[active])
        found, far = pick_one_by_one(here, outside=outside, enough=enough, limit=size - len(picked))
        chosen = active[torch.tensor(found, dtype=torch.long)]
        state.add(chosen)
        state.bound[active], state.seen[active] = here.bound, state.count
        picked += chosen.tolist()
        reach += far
        if progress and found:
            progress(len(picked), size)
        farthest = float(here.bound.max())
        if farthest >= outside and (len(picked) == size or farthest <= enough):
            break
    return _selection(picked, reach, farthest)


def _selection(picked: list[int], reach: list[float], farthest: float) -> CoresetSelection:
    radii = np.sqrt(reach[len(reach) - len(picked) + 1 :] + [farthest]) if picked else np.empty(0)
    return CoresetSelection(np.asarray(picked, dtype=np.int64), float(np.sqrt(farthest)), radii)


def _settled(device: torch.device | str | None) -> torch.device:
    """A device with its number, as that of a tensor is told; None is the CPU."""
    return torch.empty(0, device=device or "cpu").device


def _in_rounds(
    rows: Tensor,
    size: int,
    device: torch.device,
    first: int | None,
    centres: Tensor | None,
    enough: float,
    progress: Progress | None,
) -> CoresetSelection:
    begun = [] if first is None else [first]

    def told(picks: int) -> None:
        if progress:
            progress(picks + len(begun), size)

    found = pick_in_rounds(
        rows,
        size - len(begun),
        device,
        first=torch.tensor(begun) if begun else None,
        given=centres if first is None else None,
        enough=enough,
        progress=told,
    )
    return _selection(begun + found.at, found.reach, found.farthest)


def random_coreset(
    features: np.ndarray | Tensor, size: int, *, seed: int = 0, device: str | None = None
) -> CoresetSelection:
    """``size`` distinct rows drawn uniformly; the radius is measured, as for k-center."""
    device = _settled(device)
    rows, _ = _checked(features, size, device)
    size = min(size, len(rows))
    indices = np.random.default_rng(seed).permutation(len(rows))[:size].astype(np.int64)
    if _by_rounds(device):
        radius = pick_in_rounds(rows, 0, device, first=torch.from_numpy(indices)).farthest ** 0.5
    else:
        sketch = Sketch(rows, _width(rows.shape[1], size), seed)
        state = Distances(rows, size, sketch, None)
        state.add(torch.from_numpy(indices))
        state.refresh(torch.arange(len(rows)))
        radius = float(state.bound.max().sqrt())
    return CoresetSelection(indices, radius, np.append(np.full(size - 1, np.nan), radius))


def selector(method: str) -> Callable[..., CoresetSelection]:
    """The selection that the run-config value ``coreset`` names: ``k-center`` or ``random``."""
    return random_coreset if method == "random" else greedy_k_center
