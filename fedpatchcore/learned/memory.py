"""Memories of few rows: weighted averages at a site, weighted K-means at the server.

FedDyMem (Chen et al., arXiv 2502.21012): before a memory is sent it is reduced by weighted
averages, and the server makes a global memory of all by K-means. Every reduced row carries the
number of patches it stands for, so a site with twice the patches weighs twice, however many rows
it sends. Averages forget: what one patch alone has is gone from them, which is the point where
images must not be inverted, and the price where a rare normal patch was to be known.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.errors import CoresetError

__all__ = ["Memory", "global_memory", "reduce_memory"]

PATCHES_AT_ONCE = 4096
LOOKED_AT = 4096  # patches, evenly spread, whose distances make the unit of the temperature
SMALLEST = 1e-30  # scale of squared distances: below it all is one point


@dataclass(frozen=True)
class Memory:
    """Rows and what each stands for.

    Attributes:
        rows: float32 ``[M, D]`` in backbone space.
        weights: float64 ``[M]``, patches, above 0; their sum is the number of patches that were
            reduced, up to rounding.
    """

    rows: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def reduce_memory(
    features: np.ndarray,
    size: int,
    *,
    seed: int = 0,
    temperature: float = 0.1,
    metric: np.ndarray | None = None,
    device: str | None = None,
) -> Memory:
    """The full memory of a site as ``size`` weighted averages (*memory-reduce*).

    Anchors a_j are the first ``size`` picks of greedy k-center. A patch x_i belongs to them by

        s_ij = exp(−d²(x_i, a_j) / (T h²)) / Σ_l exp(−d²(x_i, a_l) / (T h²)),

    h² the mean of min_j d² over 4096 patches, evenly spread, so T has no unit; T → 0 is the nearest
    anchor alone. Row j is Σ_i s_ij x_i / w_j with weight w_j = Σ_i s_ij. Memory beside the
    features: the picks' (`greedy_k_center`), and 4096 patches at a time.

    Args:
        features: float ``[N, D]``.
        temperature: T ≥ 0.
        metric: float32 ``[D, d]``: anchors and similarities are those of ``x @ metric``; the
            averages stay in backbone space.

    Raises:
        CoresetError: features are empty or not finite, or ``size`` is below 1.
    """
    seen = features if metric is None else features @ metric
    chosen = greedy_k_center(seen, size, seed=seed, device=device).indices
    anchors = seen[chosen].astype(np.float32)
    some = seen[:: -(-len(seen) // LOOKED_AT)]
    spread = sum(d.min(1).sum(dtype=float) for d in _squares(some, anchors)) / len(some)
    total = np.zeros((len(anchors), features.shape[1]))
    weights = np.zeros(len(anchors))
    at = 0
    for squares in _squares(seen, anchors):
        share = _shares(squares, temperature * spread)
        total += share.T @ features[at : at + len(share)].astype(np.float32)
        weights += share.sum(0, dtype=float)
        at += len(share)
    kept = weights > 0
    return Memory((total[kept] / weights[kept, None]).astype(np.float32), weights[kept])


def global_memory(memories: Sequence[Memory], size: int, *, seed: int = 0) -> Memory:
    """One memory of ``size`` rows for all sites: K-means over their rows by their weights.

    The order of the sites, and of the rows within one, changes nothing: rows are brought into an
    order of their own before the seed decides where K-means starts, and one thread adds up. Equal
    rows become one that weighs as much. With no more distinct rows than ``size`` these are the
    memory. It takes the rows three times over in float32 at most.

    Raises:
        CoresetError: no rows, rows of different lengths, weights that are not positive and finite
            or do not fit their rows, or ``size`` below 1.
    """
    rows, weights = _joined(memories, size)
    if len(rows) <= size:
        return Memory(rows, weights)
    from sklearn.cluster import KMeans  # a third of a second that only this needs
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():  # threads add up in any order
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(size, n_init=1, random_state=seed % 2**32, algorithm="lloyd")
        cells = means.fit(rows, sample_weight=weights).labels_
    held = np.bincount(cells, weights, minlength=size)
    centres = np.zeros((size, rows.shape[1]))
    for at in range(0, len(rows), PATCHES_AT_ONCE):
        block = slice(at, at + PATCHES_AT_ONCE)
        np.add.at(centres, cells[block], rows[block] * weights[block, None])
    kept = held > 0
    return Memory((centres[kept] / held[kept, None]).astype(np.float32), held[kept])


def _joined(memories: Sequence[Memory], size: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows and weights, equal rows as one, in an order that only they decide."""
    if size < 1:
        raise CoresetError(f"a memory has at least 1 row, got {size}")
    if not memories or not any(len(m) for m in memories):
        raise CoresetError("nothing to make a memory of: no site gave rows")
    if len({m.rows.shape[1:] for m in memories}) > 1:
        raise CoresetError("memories of different lengths of rows cannot be one")
    rows = np.concatenate([m.rows for m in memories]).astype(np.float32, copy=False)
    weights = np.concatenate([m.weights for m in memories]).astype(np.float64)
    if len(weights) != len(rows) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise CoresetError("a memory has one positive weight a row")
    rows = np.ascontiguousarray(rows + np.float32(0))  # -0 is 0
    known: dict[bytes, list[int]] = {}
    for at, row in enumerate(rows):
        known.setdefault(row.tobytes(), []).append(at)
    order = [known[key] for key in sorted(known)]
    # sums of equal rows' weights must not depend on who came first either
    held = np.array([math.fsum(weights[at]) for at in order])
    return rows[[at[0] for at in order]], held


def _squares(rows: np.ndarray, anchors: np.ndarray) -> Iterator[np.ndarray]:
    """Squared L2 distances float32 ``[b, M]`` of one block of rows after the other."""
    lengths = np.square(anchors, dtype=np.float32).sum(1)
    for at in range(0, len(rows), PATCHES_AT_ONCE):
        block = rows[at : at + PATCHES_AT_ONCE].astype(np.float32, copy=False)
        own = np.square(block).sum(1)
        yield np.maximum(own[:, None] + lengths - 2 * (block @ anchors.T), 0)


def _shares(squares: np.ndarray, scale: float) -> np.ndarray:
    """Rows that sum to 1, float32: softmax of −squares / scale, all to the nearest at scale 0."""
    nearest = squares.argmin(1)
    apart = squares - squares.min(1, keepdims=True)
    if scale <= SMALLEST:
        share = np.zeros_like(apart)
        share[np.arange(len(share)), nearest] = 1
        return share
    share = np.exp(-apart / np.float32(scale))
    return share / share.sum(1, keepdims=True)
