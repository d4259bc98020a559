"""Rows of several sites, and the distances to each site's rows by brute force."""

from __future__ import annotations

import numpy as np

__all__ = ["site_distances", "sites"]


def sites(sizes: list[int], seed: int, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each site about a place of its own, shuffled, and whose they are."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(n, width)) + rng.normal(size=width) * 2 for n in sizes]
    origin = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    order = rng.permutation(len(origin))
    return np.concatenate(rows).astype(np.float32)[order], origin[order]


def site_distances(queries, rows, origin, k: int) -> np.ndarray:
    """Mean distance of each query to the k nearest rows of each site, float64 ``[Q, sites]``.

    A site with fewer rows than k counts its farthest one several times.
    """
    found = []
    for site in np.unique(origin):
        own = rows[origin == site].astype(float)
        away = np.sort(np.linalg.norm(queries[:, None].astype(float) - own, axis=2), axis=1)
        found.append(away[:, np.minimum(np.arange(k), len(own) - 1)].mean(1))
    return np.stack(found, axis=1)
