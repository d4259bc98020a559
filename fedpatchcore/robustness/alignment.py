"""Rows of different sites made comparable: a common codebook of cells.

Row i of one coreset has nothing to do with row i of another; what can be compared is what
sites have in the same *place*. A codebook (k-means over the pooled rows) cuts feature space
into cells. Every site adds at most the same number of rows to the codebook, the (lower) median
over sites, so one that floods the federation with rows draws no more cells than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.coreset.clusters import kmeans
from fedpatchcore.deviation import middle

__all__ = ["Aligned", "align", "cell_count", "row_cap"]

ROWS_A_CELL = 2  # pooled rows per supporting site that a cell should hold on average
KMEANS_ITERATIONS = 10


@dataclass(frozen=True)
class Aligned:
    """Where rows lie in a common codebook.

    Attributes:
        cells: cell number of each pooled row, int64 ``[N]``.
        centres: float32 ``[count, D]``, of the cells.
    """

    cells: np.ndarray
    centres: np.ndarray


def row_cap(sizes: Sequence[int], tolerated: int = 0) -> int:
    """Rows of one site that the codebook may see: the `middle` of the sites' sizes."""
    return int(middle(sizes, tolerated))


def cell_count(sizes: Sequence[int], *, supporters: int, limit: int, tolerated: int = 0) -> int:
    """Cells wanted, 1 to ``limit``, so that each could hold rows of ``supporters`` sites.

    Args:
        sizes: rows of each site.
        supporters: sites that a cell should be able to find (no more than there are).
    """
    cap = row_cap(sizes, tolerated)
    pooled = sum(min(size, cap) for size in sizes)
    return max(1, min(limit, pooled // (ROWS_A_CELL * min(len(sizes), supporters))))


def align(
    donors_rows: Sequence[np.ndarray], count: int, seed: int, *, tolerated: int = 0
) -> Aligned:
    """The pooled rows in a codebook of their own.

    Args:
        donors_rows: float32 ``[k_i, D]`` of each site, in order of selection: the first rows
            of a site are the ones that the codebook sees.
        count: cells of the codebook, at most the rows that it sees.
        tolerated: sites whose number of rows must not move the others'.
    """
    cap = row_cap([len(rows) for rows in donors_rows], tolerated)
    capped = np.concatenate([rows[:cap] for rows in donors_rows])
    told = {"iterations": KMEANS_ITERATIONS, "seed": seed, "points_a_centroid": len(capped) + 1}
    rows = np.concatenate(donors_rows)
    codebook = kmeans(capped, count, **told)
    cells = codebook.index.search(np.ascontiguousarray(rows), 1)[1][:, 0]
    return Aligned(cells, codebook.centroids)
