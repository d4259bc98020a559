"""Exact nearest neighbours in a memory bank, through FAISS on CPU or GPU.

Distances are L2, in feature units, not squared (FAISS returns squares).
"""

from __future__ import annotations

import faiss
import numpy as np

from fedpatchcore.errors import BankError

__all__ = ["NearestNeighbours"]


class NearestNeighbours:
    """A flat L2 index over bank rows ``[M, D]``.

    Bank and queries are centred on the bank's mean first: FAISS works with
    ‖q‖² − 2q·b + ‖b‖², which loses digits when the cloud lies far from the origin.
    """

    def __init__(self, rows: np.ndarray, *, gpu: bool | None = None) -> None:
        """``gpu=None`` uses a GPU when FAISS sees one. Raises BankError on an empty bank."""
        if rows.ndim != 2 or not len(rows):
            raise BankError(f"cannot search a bank of shape {rows.shape}")
        self.dimension = rows.shape[1]
        self._middle = rows.mean(0, dtype=np.float64).astype(np.float32)
        index = faiss.IndexFlatL2(self.dimension)
        if gpu is None:
            gpu = faiss.get_num_gpus() > 0
        if gpu:
            self._resources = faiss.StandardGpuResources()  # must outlive the index
            index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        index.add(np.ascontiguousarray(rows - self._middle, dtype=np.float32))
        self._index = index

    def __len__(self) -> int:
        return self._index.ntotal

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest bank rows of each query, nearest first.

        Args:
            queries: float ``[Q, D]``.
            k: at most the bank's size is used.

        Returns:
            float32 distances ``[Q, k]`` and int64 row numbers ``[Q, k]``.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise BankError(
                f"queries of shape {queries.shape} do not fit a bank of dimension {self.dimension}"
            )
        k = min(k, len(self))
        squared, rows = self._index.search(
            np.ascontiguousarray(queries - self._middle, dtype=np.float32), k
        )
        return np.sqrt(np.maximum(squared, 0.0)), rows
