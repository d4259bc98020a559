"""Exact nearest neighbours in a memory bank, on the device that is asked for.

Distances are L2, in feature units, not squared. Which search serves there, `detection.which` says.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import torch

from fedpatchcore.detection.which import index_of
from fedpatchcore.errors import BankError

__all__ = ["Ballot", "NearestNeighbours", "elected"]


class NearestNeighbours:
    """The nearest of bank rows ``[M, D]``."""

    def __init__(self, rows: np.ndarray, *, device: torch.device | str | None = None) -> None:
        """On the CPU unless a device is named. Raises BankError on an empty bank."""
        if rows.ndim != 2 or not len(rows):
            raise BankError(f"cannot search a bank of shape {rows.shape}")
        self.dimension = rows.shape[1]
        self._index = index_of(rows, device)

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest bank rows of each query, nearest first.

        Args:
            queries: float ``[Q, D]``.
            k: at most the bank's size is used.

        Returns:
            float32 distances ``[Q, k]`` and int64 row numbers ``[Q, k]``. Rows equally near come
            in the order of their numbers (not where FAISS serves).
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise BankError(
                f"queries of shape {queries.shape} do not fit a bank of dimension {self.dimension}"
            )
        return self._index.search(queries, min(k, len(self)))

    def around(self, rows: np.ndarray, at: np.ndarray, k: int) -> np.ndarray:
        """Numbers ``[Q, k]`` of the rows nearest to the bank's own rows number ``at``."""
        return self.search(rows[at], k)[1]


def elected(distances: np.ndarray, votes: int, home: int | None = None) -> np.ndarray:
    """The site whose distance counts, for each query: int64 ``[Q]``.

    Without a home it is the site with the v-th smallest distance, v = ``votes``; of fewer than v
    sites the farthest, so that every one of them must be near.

    A site that judges at *home* trusts its own rows, which nobody else can touch: if they are
    nearest they decide. Otherwise the others vote, and since the home's rows keep what is normal
    there near, the others can be asked for more: the (v + 1)-th smallest of their distances, or
    the v-th if they are just v. Fewer than v others could all be faulty, so the home decides
    alone.

    Args:
        distances: ``[sites, Q]``, of each query to each site.
        home: number of the site that trusts itself.
    """
    sites = len(distances)
    if home is None:
        return np.argsort(distances, axis=0, kind="stable")[min(votes, sites) - 1]
    others = np.delete(np.arange(sites), home)
    if len(others) < votes:
        return np.full(distances.shape[1], home)
    ranked = others[np.argsort(distances[others], axis=0, kind="stable")]
    asked = ranked[min(votes, len(others) - 1)]
    confirmed = np.take_along_axis(distances, asked[None], axis=0)[0]
    return np.where(distances[home] <= confirmed, home, asked)


class Ballot:
    """Rows of several sites, of which ``votes`` must be near before a query counts as near.

    The distance of a query is that of the site that `elected` names. With at most f = v − 1
    faulty sites, v = ``votes``, whatever these send, and d₍ᵢ₎ the i-th smallest distance over
    the *honest* sites,

        d₍₁₎ ≤ distance ≤ d₍ᵥ₎,

    (the upper bound needs v honest sites, that is n ≥ 2f + 1 sites with rows): the v smallest
    include an honest site's, so one stands behind every low score, and no f sites can make a
    defect look normal; and v honest sites that know a patch keep it near whatever the rest says.
    (The order statistic as a robust location is the oldest there is; cf. Huber, "Robust
    Statistics", 1981, and the trimmed votes of Yin et al., ICML 2018.)

    At ``home`` h, an honest site, with e₍ᵢ₎ over the honest *others*, of m others in all,

        min(dₕ, e₍₂₎) ≤ distance ≤ min(dₕ, e₍ᵥ₊₁₎)    if m > v,
        min(dₕ, e₍₁₎) ≤ distance ≤ min(dₕ, e₍ᵥ₎)      if m = v,
        distance = dₕ                                 if m < v:

    of the v + 1 smallest of the others' distances at most f are faulty sites', hence two are
    honest. A defect that f sites call normal still takes two honest witnesses. (Upper bounds
    as far as there are so many honest others; dₕ bounds it always.)
    """

    def __init__(
        self,
        rows: np.ndarray,
        origin: np.ndarray,
        votes: int,
        *,
        home: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """``home`` is the origin of the rows that are trusted; None, or without rows: nobody's.

        Raises BankError on an empty bank or an origin that does not fit.
        """
        if origin.shape != (len(rows),):
            raise BankError(f"origins of shape {origin.shape} do not fit {len(rows)} rows")
        present = np.unique(origin).tolist()
        self._members = [np.flatnonzero(origin == site) for site in present]
        self._voters = [NearestNeighbours(rows[m], device=device) for m in self._members]
        if not self._voters:
            raise BankError(f"cannot search a bank of shape {rows.shape}")
        self.votes = votes
        self._home = present.index(home) if home in present else None
        self._rows = len(rows)

    def __len__(self) -> int:
        return self._rows

    def elsewhere(self) -> Ballot | None:
        """The same rows where nobody is at home; None if nobody is here."""
        if self._home is None:
            return None
        other = copy(self)
        other._home = None
        return other

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances and row numbers ``[Q, k]`` at the site elected by its mean distance.

        ``k`` is at most the size of the largest site. A site with fewer rows repeats its
        farthest one: how many rows one site has changes no other site's distance.
        """
        k = min(k, max(len(v) for v in self._voters))
        found = [_widened(voter.search(queries, k), k) for voter in self._voters]
        means = np.stack([distances.mean(1) for distances, _ in found])
        chosen = elected(means, self.votes, self._home)
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
