"""Large banks searched by an approximate index, with image scores that are exact all the same.

The index (inverted lists, and 4-bit product codes scanned in registers: André, Kermarrec & Le
Scouarnec, TPAMI 2021; FAISS "PQ fast scan") proposes `PROPOSED` rows for each patch; these are
measured exactly. So each distance found is one to *some* row of the bank, never too small:

    found ≥ true,  for every patch.

The image score is the largest true distance. It is found by searching exactly, from the patch
with the largest found distance down, until no patch left was found farther than the largest true
distance so far: what is left cannot reach it. Anomalous patches are few, so that is soon. Of the
anomaly map all but these patches may be too large where the index missed the nearest row.

How often it misses depends on the bank. The first `CHECKED` images are searched both ways, and
answered exactly; if fewer than `LEAST` of their patches were right, the index is given up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.coreset.pairs import squared_distances
from fedpatchcore.detection.exact import ExactSearch
from fedpatchcore.devices.faiss import faiss_for

if TYPE_CHECKING:
    import faiss

__all__ = ["WORTHWHILE", "VerifiedSearch"]

log = logging.getLogger("fedpatchcore")

WORTHWHILE = 100_000  # rows of a bank from which the index pays within some hundred images
PROPOSED = 32  # rows a patch that are measured
LISTS = 4.0  # inverted lists: so many times the root of the rows
LOOKED_AT = 32  # of them, for each patch
TEACH = 64  # rows a list that the lists are learned from, at most
AT_ONCE = 8  # patches that are verified in one call
LARGEST = 1e15  # values beyond which FAISS' k-means gives up, and the process with it
CLOSE = 1e-4  # relative: a distance this near the true one is right
CHECKED, LEAST = 4, 0.99


class VerifiedSearch:
    """As `NearestNeighbours`, for one image at a time.

    Args:
        checked: images that are searched both ways first; None: `CHECKED`.
        least: share of their patches that the index must get right.
    """

    def __init__(
        self, rows: np.ndarray, *, checked: int | None = None, least: float = LEAST
    ) -> None:
        self._rows = np.ascontiguousarray(rows, dtype=np.float32)
        self._exact = ExactSearch(self._rows)
        self._index = _index(self._rows) if np.abs(self._rows).max() < LARGEST else None
        self._left, self._least = CHECKED if checked is None else checked, least
        self._right: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def recall(self) -> float:
        """Of the index alone, before anything is verified."""
        return float(np.concatenate(self._right).mean()) if self._right else 1.0

    @property
    def given_up(self) -> bool:
        """Whether all is searched exactly since the index missed too much."""
        return self._index is None

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances and row numbers ``[Q, k]`` of one image's patches ``[Q, D]``.

        The largest distance is exact, and so is its row. With ``k`` > 1 all are.
        """
        k = min(k, len(self))
        if k > 1 or self._index is None or not np.isfinite(queries).all():
            return self._exact.search(queries, k)  # which refuses what is not finite
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._left:
            return self._compared(queries)
        return self._verified(queries, *self._proposed(queries))

    def around(self, rows: np.ndarray, at: np.ndarray, k: int) -> np.ndarray:
        """Numbers ``[Q, k]`` of the rows nearest to the bank's own rows number ``at``; exact."""
        return self._exact.search(rows[at], min(k, len(self)))[1]

    def _proposed(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of the rows that the index proposes, measured by differences."""
        _, rows = self._index.search(_padded(queries), min(PROPOSED, len(self)))
        at = np.repeat(np.arange(len(queries)), rows.shape[1])
        rows = np.where(rows < 0, 0, rows)  # fewer in the lists looked at: any row will do
        found = squared_distances(queries, at, self._rows, rows.ravel()).reshape(rows.shape)
        best = np.argmin(found, axis=1)[:, None]
        distances = np.sqrt(np.take_along_axis(found, best, 1))
        return distances, np.take_along_axis(rows, best, 1)

    def _verified(
        self, queries: np.ndarray, distances: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        order, largest, at = np.argsort(-distances[:, 0], kind="stable"), -np.inf, 0
        # those equal to the largest as well, so that the first of them is as it would be
        while at < len(order) and distances[order[at], 0] >= largest:
            some = order[at : at + AT_ONCE]
            distances[some], rows[some] = self._exact.search(queries[some])
            largest = max(largest, float(distances[some].max()))
            at += AT_ONCE
        return distances, rows

    def _compared(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, _ = self._proposed(queries)
        distances, rows = self._exact.search(queries)
        self._right.append(found[:, 0] - distances[:, 0] <= CLOSE * distances[:, 0])
        self._left -= 1
        if not self._left:
            told = (
                f"approximate search of {len(self):,} rows finds the nearest row of "
                f"{self.recall:.2%} of {sum(map(len, self._right)):,} patches"
            )
            if self.recall < self._least:
                self._index = None
                log.warning("%s, fewer than %.2f%%: searching exactly", told, 100 * self._least)
            else:
                log.info("%s; image scores are exact", told)
        return distances, rows


def _padded(rows: np.ndarray) -> np.ndarray:
    """With columns of zeros up to a multiple of 4, which a code stands for."""
    lacking = -rows.shape[1] % 4
    return np.pad(rows, ((0, 0), (0, lacking))) if lacking else rows


def _index(rows: np.ndarray) -> faiss.IndexIVFPQFastScan:
    faiss = faiss_for("search='approximate'")
    rows = _padded(rows)
    lists = max(1, int(LISTS * len(rows) ** 0.5))
    index = faiss.index_factory(rows.shape[1], f"IVF{lists},PQ{rows.shape[1] // 4}x4fs")
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = TEACH, 1
    index.pq.cp.min_points_per_centroid = 1
    index.nprobe = min(LOOKED_AT, lists)
    index.train(rows)
    index.add(rows)
    return index
