"""Exact nearest neighbours in a memory bank: `fedpatchcore.exact` on the CPU, FAISS on a GPU.

Distances are L2, in feature units, not squared.
"""

from __future__ import annotations

import faiss
import numpy as np

from fedpatchcore.errors import BankError
from fedpatchcore.exact import ExactSearch

__all__ = ["Ballot", "NearestNeighbours", "on_gpu"]


class _OnGpu:
    """FAISS' flat index.

    Bank and queries are centred on the bank's mean first: FAISS works with
    ‖q‖² − 2q·b + ‖b‖², which loses digits when the cloud lies far from the origin.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._middle = rows.mean(0, dtype=np.float64).astype(np.float32)
        self._resources = faiss.StandardGpuResources()  # must outlive the index
        index = faiss.IndexFlatL2(rows.shape[1])
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        self._index.add(np.ascontiguousarray(rows - self._middle, dtype=np.float32))

    def __len__(self) -> int:
        return self._index.ntotal

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        centred = np.ascontiguousarray(queries - self._middle, dtype=np.float32)
        squared, rows = self._index.search(centred, k)
        return np.sqrt(np.maximum(squared, 0.0)), rows


def on_gpu(asked: bool | None) -> bool:
    """What was asked for; None: whether FAISS sees a GPU."""
    return faiss.get_num_gpus() > 0 if asked is None else asked


class NearestNeighbours:
    """The nearest of bank rows ``[M, D]``."""

    def __init__(self, rows: np.ndarray, *, gpu: bool | None = None) -> None:
        """``gpu=None`` uses a GPU when FAISS sees one. Raises BankError on an empty bank."""
        if rows.ndim != 2 or not len(rows):
            raise BankError(f"cannot search a bank of shape {rows.shape}")
        self.dimension = rows.shape[1]
        self._index = _OnGpu(rows) if on_gpu(gpu) else ExactSearch(rows)

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest bank rows of each query, nearest first.

        Args:
            queries: float ``[Q, D]``.
            k: at most the bank's size is used.

        Returns:
            float32 distances ``[Q, k]`` and int64 row numbers ``[Q, k]``. On the CPU rows
            equally near come in the order of their numbers.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise BankError(
                f"queries of shape {queries.shape} do not fit a bank of dimension {self.dimension}"
            )
        return self._index.search(queries, min(k, len(self)))

    def around(self, rows: np.ndarray, at: np.ndarray, k: int) -> np.ndarray:
        """Numbers ``[Q, k]`` of the rows nearest to the bank's own rows number ``at``."""
        return self.search(rows[at], k)[1]


class Ballot:
    """Rows of several sites, of which ``votes`` must be near before a query counts as near.

    The distance of a query is the v-th smallest of the sites' own nearest distances,
    v = ``votes``. With at most f = v − 1 faulty sites among n, whatever these send,

        d₍₁₎ ≤ distance ≤ d₍ᵥ₎,

    d₍ᵢ₎ being the i-th smallest distance over the *honest* sites (the upper bound needs v of
    them, that is n ≥ 2f + 1 sites with rows): at least one honest site
    stands behind every low score (so no f sites can make a defect look normal), and f
    sites that call everything strange only cost the f nearest honest witnesses. (The order
    statistic as a robust location is the oldest there is; cf. Huber, "Robust Statistics",
    1981, and the trimmed votes of Yin et al., ICML 2018.)

    If fewer than ``votes`` sites have rows at all, every one of them must be near.
    """

    def __init__(
        self, rows: np.ndarray, origin: np.ndarray, votes: int, *, gpu: bool | None = None
    ) -> None:
        """Raises BankError on an empty bank or an origin that does not fit."""
        if origin.shape != (len(rows),):
            raise BankError(f"origins of shape {origin.shape} do not fit {len(rows)} rows")
        self._members = [np.flatnonzero(origin == site) for site in np.unique(origin)]
        self._voters = [NearestNeighbours(rows[m], gpu=gpu) for m in self._members]
        if not self._voters:
            raise BankError(f"cannot search a bank of shape {rows.shape}")
        self.votes = min(votes, len(self._voters))
        self._rows = len(rows)

    def __len__(self) -> int:
        return self._rows

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances and row numbers ``[Q, k]`` at the site with the v-th smallest mean distance.

        ``k`` is at most the size of the largest site. A site with fewer rows repeats its
        farthest one: how many rows one site has changes no other site's distance.
        """
        k = min(k, max(len(v) for v in self._voters))
        found = [_widened(voter.search(queries, k), k) for voter in self._voters]
        means = np.stack([distances.mean(1) for distances, _ in found])
        chosen = np.argsort(means, axis=0, kind="stable")[self.votes - 1]
        distances, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), int)
        for at, ((given, local), members) in enumerate(zip(found, self._members, strict=True)):
            mine = chosen == at
            distances[mine] = given[mine]
            rows[mine] = members[local[mine]]
        return distances, rows

    def around(self, rows: np.ndarray, at: np.ndarray, k: int) -> np.ndarray:
        """Numbers ``[Q, k]`` of the rows nearest to rows ``at``, among those of the same site."""
        k = min(k, max(len(v) for v in self._voters))
        found = np.empty((len(at), k), int)
        for voter, members in zip(self._voters, self._members, strict=True):
            mine = np.isin(at, members)
            if mine.any():
                found[mine] = members[_widened(voter.search(rows[at[mine]], k), k)[1]]
        return found


def _widened(found: tuple[np.ndarray, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows with their last column repeated until there are ``k``."""
    columns = np.minimum(np.arange(k), found[0].shape[1] - 1)
    return found[0][:, columns], found[1][:, columns]
