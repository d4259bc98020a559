"""Few rows, each with a metric of its own: a patch's distance from the one that is nearest so."""

from __future__ import annotations

import numpy as np

from fedpatchcore.errors import BankError

__all__ = ["OwnMetrics"]

AT_ONCE = 2**24  # numbers of a block of queries


class OwnMetrics:
    """The nearest of rows that are seen through metrics of their own.

    Args:
        rows: float32 ``[M, r]``, row k through metric k.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """As `NearestNeighbours.search`; a query ``[M r]`` is seen through all metrics in a line.

        Raises:
            BankError: queries of another length.
        """
        count, wide = self._rows.shape
        if queries.ndim != 2 or queries.shape[1] != count * wide:
            raise BankError(f"queries of shape {queries.shape} do not fit {count} metrics")
        step = max(1, AT_ONCE // queries.shape[1])
        found = np.empty((len(queries), count), np.float32)
        for at in range(0, len(queries), step):
            some = queries[at : at + step].reshape(-1, count, wide)
            found[at : at + step] = np.linalg.norm(some - self._rows, axis=2)
        order = np.argsort(found, axis=1, kind="stable")[:, : min(k, count)]
        return np.take_along_axis(found, order, axis=1), order
