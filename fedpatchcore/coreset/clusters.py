"""k-means, the same at every call with the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.devices.faiss import faiss_for

if TYPE_CHECKING:
    import faiss

__all__ = ["kmeans"]


def kmeans(
    points: np.ndarray, count: int, *, iterations: int, seed: int, points_a_centroid: int
) -> faiss.Kmeans:
    """Trained on ``points`` float ``[N, d]``: ``centroids`` float32 ``[count, d]`` and ``index``.

    Args:
        points_a_centroid: above so many, a seeded sample of the points is enough.
    """
    trained = faiss_for("k-means").Kmeans(
        points.shape[1],
        count,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=points_a_centroid,
        gpu=False,
    )
    trained.train(np.ascontiguousarray(points, dtype=np.float32))
    return trained
