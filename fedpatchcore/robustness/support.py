"""How many sites stand behind a cell, and what that allows, with f faulty sites to tolerate.

f sites can agree among themselves, so a cell needs f + 1 supporters before one of them must
be honest, and 2f + 1 before honest ones are the majority of its supporters. Products made
at f sites or fewer can never be confirmed; the operator chooses what becomes of them.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "SINGLE_SOURCE_ADMIT",
    "SINGLE_SOURCE_DROP",
    "SINGLE_SOURCE_POLICIES",
    "admitted",
    "cell_support",
    "confirmed",
]

SINGLE_SOURCE_ADMIT = "admit"
"""Rows that no other site can confirm pass, flagged."""
SINGLE_SOURCE_DROP = "drop"
"""Rows that no other site can confirm are left out."""
SINGLE_SOURCE_POLICIES = (SINGLE_SOURCE_ADMIT, SINGLE_SOURCE_DROP)


def cell_support(cells: np.ndarray, origin: np.ndarray, count: int) -> np.ndarray:
    """Number of different sites with a row in each cell, int64 ``[count]``.

    Args:
        cells: cell number of each pooled row ``[N]``.
        origin: site number of each pooled row ``[N]``.
    """
    sites = int(origin.max(initial=-1)) + 1
    seen = np.zeros((count, sites), dtype=bool)
    seen[cells, origin] = True
    return seen.sum(1)


def admitted(support: np.ndarray, tolerated: int) -> np.ndarray:
    """Cells that at least one honest site stands behind: f + 1 supporters or more."""
    return np.asarray(support) > tolerated


def confirmed(support: np.ndarray, tolerated: int) -> np.ndarray:
    """Cells in which honest sites are the majority: 2f + 1 supporters or more."""
    return np.asarray(support) > 2 * tolerated
