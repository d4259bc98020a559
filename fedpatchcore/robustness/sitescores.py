"""How far each site's rows lie from those of the other sites, as robust scores.

Z-scores do not work here. Among n sites the largest possible z is (n − 1)/√n with the sample
standard deviation (Shiffler, The American Statistician 42, 1988) and √(n − 1) with that of
the population: 1.79 and 2.0 for five sites. A threshold of 3 can never fire, because a bad
site also inflates the deviation that it is measured by. Median and median absolute deviation
(MAD) stand still as long as bad sites are a minority; the modified z-score (x − median) /
(1.4826 MAD) with threshold 3.5 follows Iglewicz and Hoaglin ("How to Detect and Handle
Outliers", ASQC 1993).

Sites differ honestly: other light, other variants, other shares of each. Scored is
therefore *where* a site's rows lie, not how many lie where:

* Rows are aligned by a common codebook. A site has one position a cell, the mean of its rows
  there, so that duplicates and floods count once.
* A position's distance is the (lower) median, over the other sites, of that to their nearest
  position: faulty sites in the minority can neither raise it nor vouch for each other.
* A site's distance is the median over its positions: up to half of a site may be its own.
* The MAD is taken as at least `FLOOR` of the usual distance, or of the usual gap between a
  site's own positions: near-identical sites would otherwise make any difference an outlier.

The shares of rows per cell (a histogram) are left out on purpose: a site that alone makes a
variant shares no cell with the others and looks exactly like an attack there. The score sees
what is gross: scaled rows, noise, a flipped sign. It does not see smuggled rows in between
good ones, rows moved within the range of normal, or copies of another site.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.deviation import robust_sigma
from fedpatchcore.robustness.alignment import align, cell_count

__all__ = ["ROWS_A_SITE", "outliers", "site_scores"]

# Least spread between sites, as a share of the usual distance. Set on SqueezeNet features of
# magnetic tiles: five sites of different light score at most 0.5, one that alone makes quite
# another product at most 3.1; a flipped sign at least 5, noise of three deviations 5.6, a
# factor of ten 37.
FLOOR = 0.4
THRESHOLD = 3.5
MIN_SITES = 3
ROWS_A_SITE = 2048  # the first rows of a coreset are a coreset themselves


def site_scores(rows_by_site: Mapping[str, np.ndarray], *, seed: int) -> dict[str, float]:
    """Score of each site; large is suspicious, below zero is closer than usual.

    Args:
        rows_by_site: float32 ``[k, D]`` of each site for one section, in order of selection.
        seed: of the codebook.

    Returns:
        ``{site: score}``; all zero for fewer than three sites, which show no majority.
    """
    if len(rows_by_site) < MIN_SITES:
        return dict.fromkeys(rows_by_site, 0.0)
    places = _positions([rows[:ROWS_A_SITE] for rows in rows_by_site.values()], seed)
    searches = [NearestNeighbours(own) for own in places]
    distances = np.array([_distance(at, places, searches) for at in range(len(places))])
    gaps = [_gap(own, search) for own, search in zip(places, searches, strict=True)]
    middle = float(np.median(distances))
    spread = max(robust_sigma(distances), FLOOR * max(middle, float(np.median(gaps))))
    scores = (distances - middle) / spread if spread > 0 else np.zeros(len(distances))
    return dict(zip(rows_by_site, scores.tolist(), strict=True))


def outliers(scores: Mapping[str, float], threshold: float = THRESHOLD) -> list[str]:
    """Sites whose score exceeds the threshold, worst first."""
    return sorted((s for s, score in scores.items() if score > threshold), key=lambda s: -scores[s])


def _positions(rows: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Of each site the mean of its rows in each cell it has rows in, float32 ``[cells, D]``."""
    sizes = [len(own) for own in rows]
    cells = align(rows, cell_count(sizes, supporters=len(rows), limit=sum(sizes)), seed).cells
    places = []
    for own, at in zip(rows, np.split(cells, np.cumsum(sizes)[:-1]), strict=True):
        order = np.argsort(at, kind="stable")
        _, starts, counts = np.unique(at[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(own[order].astype(np.float64), starts, axis=0)
        places.append((sums / counts[:, None]).astype(np.float32))
    return places


def _distance(at: int, places: list[np.ndarray], searches: list[NearestNeighbours]) -> float:
    """Of the usual position of site ``at`` from its (lower) median peer."""
    peers = [search.search(places[at])[0] for other, search in enumerate(searches) if other != at]
    ranked = np.sort(np.concatenate(peers, axis=1), axis=1)
    return float(np.median(ranked[:, (len(peers) - 1) // 2]))


def _gap(own: np.ndarray, search: NearestNeighbours) -> float:
    """Usual distance of a site's position to its next own one."""
    return float(np.median(search.search(own, 2)[0][:, 1])) if len(own) > 1 else 0.0
