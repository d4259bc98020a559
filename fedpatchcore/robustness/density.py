"""Isolated patches left out before a coreset is selected.

Greedy k-center takes outliers first: one dirty picture among the normal ones is enough to
put its defect into the bank. SoftPatch (Jiang et al., NeurIPS 2022) drops the patches of
lowest local density beforehand, measured by the local outlier factor (LOF; Breunig et al.,
SIGMOD 2000): how far a patch is from its nearest neighbours, relative to how far those are
from theirs. A patch in a sparse but evenly filled region is thus no outlier.

Neighbours are looked up in a seeded random subset instead of all patches, which keeps half a
million patches to a minute or so on two cores. A subset also hides near-duplicates (several
exposures of one scratch) from each other, which would vouch for one another otherwise.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import ConfigError

__all__ = ["dense_rows", "isolation"]

NEIGHBOURS = 6  # as in SoftPatch
REFERENCES = 4096
ROWS_A_BLOCK = 16384
ZERO = 1e-6  # share of the usual neighbour distance below which distances count as equal


def dense_rows(
    patches: np.ndarray,
    share_dropped: float,
    *,
    neighbours: int = NEIGHBOURS,
    references: int = REFERENCES,
    seed: int,
) -> np.ndarray:
    """Which patches ``[N, D]`` to keep, bool ``[N]``.

    The most isolated ones are left out, ``share_dropped`` of all (rounded down, and never
    all of them). Equal patches and seed give equal answers.

    Raises:
        ConfigError: the share is not within [0, 1), or ``neighbours`` is below 1.
    """
    if not 0 <= share_dropped < 1:
        raise ConfigError(f"share of patches to drop must be within [0, 1), got {share_dropped}")
    keep = np.ones(len(patches), dtype=bool)
    dropped = min(int(share_dropped * len(patches)), len(patches) - 1)
    if dropped > 0:
        factor = isolation(patches, neighbours=neighbours, references=references, seed=seed)
        keep[np.argsort(-factor, kind="stable")[:dropped]] = False
    return keep


def isolation(
    patches: np.ndarray,
    *,
    neighbours: int = NEIGHBOURS,
    references: int = REFERENCES,
    seed: int,
) -> np.ndarray:
    """Mean neighbour distance of each patch over that of its neighbours, float64 ``[N]``.

    About 1 inside a cluster of any density, large for isolated patches.

    Args:
        neighbours: nearest reference patches looked at (a patch is never its own).
        references: size of the random subset that neighbours are taken from.
    """
    if neighbours < 1:
        raise ConfigError(f"neighbours must be at least 1, got {neighbours}")
    total = len(patches)
    subset = np.random.default_rng(seed).permutation(total)[:references]
    if len(subset) < 2:
        return np.ones(total)
    k = min(neighbours, len(subset) - 1)
    search = NearestNeighbours(np.asarray(patches[subset], dtype=np.float32))
    own = np.full(total, -1)  # place of a patch in the subset
    own[subset] = np.arange(len(subset))
    distances = np.empty(total)
    nearest = np.empty((total, k), dtype=np.int64)
    for at in range(0, total, ROWS_A_BLOCK):
        block = slice(at, at + ROWS_A_BLOCK)
        found, places = search.search(np.asarray(patches[block], dtype=np.float32), k + 1)
        found[places == own[block, None]] = np.inf  # itself
        first = np.argsort(found, axis=1, kind="stable")[:, :k]
        distances[block] = np.take_along_axis(found, first, 1).mean(1)
        nearest[block] = np.take_along_axis(places, first, 1)
    around = distances[subset][nearest].mean(1)
    zero = ZERO * float(np.median(distances)) + np.finfo(float).tiny
    return (distances + zero) / (around + zero)
