"""One bank row a cell of a common codebook: what the median aggregations share.

Row i of one coreset has nothing to do with row i of another, so a median over row numbers
mixes unrelated patches. Here rows are first aligned: a codebook cuts feature space into
cells (`fedpatchcore.robustness.alignment`), and each site is represented in a cell by the
mean of its rows there. Then, with f = ``tolerated`` faulty sites:

* a cell supported by ≤ f sites could be the work of faulty sites alone: it is rejected,
  unless f + 1 sites do not even make the product (see ``single_source``);
* with ≥ 2f + 1 supporting sites the row is the median of their positions;
* in between half of them or more may be faulty, and no median holds: the row is the position
  nearest to the cell's centre, which is no farther from an honest supporter than twice that
  one's own distance to the centre. It counts as flagged.

A codebook and a median need all sites' rows at once: some `COPIES` times their bytes. Where
that is more than ``server-memory-gb`` allows, nothing is merged (ConfigError); site_vote
tolerates as many faulty sites and reads one site at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fedpatchcore.aggregation.common import (
    Donor,
    Merged,
    MergeSettings,
    covering_radius,
    reaches,
    union,
)
from fedpatchcore.deviation import all_but
from fedpatchcore.errors import CoresetError
from fedpatchcore.robustness.alignment import align, cell_count
from fedpatchcore.robustness.medians import central
from fedpatchcore.robustness.support import SINGLE_SOURCE_DROP, admitted, cell_support, confirmed
from fedpatchcore.spelling import typed

__all__ = ["merge_aligned"]

COPIES = 5  # the union, what the codebook sees, k-means' own, positions


def merge_aligned(
    donors: Sequence[Donor],
    settings: MergeSettings,
    middle: Callable[[np.ndarray], np.ndarray],
    *,
    name: str,
) -> Merged:
    """Bank of at most ``settings.size`` rows, one for each cell with enough support.

    With f donors or fewer there is nobody to compare with: their rows pass as they are,
    flagged, if ``single_source="admit"``; with "drop" a CoresetError says that nothing is
    left. ``weighted`` has no effect: a median in which large sites vote more is not robust.

    Args:
        middle: median of the positions ``[s, D]`` of a cell's supporting sites.
        name: of the aggregation, for messages.
    """
    if len(donors) <= settings.tolerated:
        return _unconfirmed(donors, settings, name)
    needed = COPIES * sum(d.nbytes for d in donors)
    settings.memory.require(
        needed, f"{name}, which needs all rows at once,", f"or {typed('aggregation', 'site_vote')}"
    )
    rows, origin = union(donors)
    sizes = [len(d) for d in donors]
    f = settings.tolerated
    count = cell_count(sizes, supporters=2 * f + 1, limit=settings.size, tolerated=f)
    found = align(np.split(rows, np.cumsum(sizes)[:-1]), count, settings.seed, tolerated=f)
    cells = found.cells
    support = cell_support(cells, origin, count)
    allowed, sure = admitted(support, f), confirmed(support, f)
    features: list[np.ndarray] = []
    order = np.argsort(cells, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        cell = cells[members[0]]
        if not allowed[cell]:
            continue
        sites = np.unique(origin[members])
        positions = np.stack([rows[members[origin[members] == s]].mean(0) for s in sites])
        one = middle(positions) if sure[cell] else central(positions, found.centres[cell])
        features.append(one)
    if not features:
        raise CoresetError(
            f"{name}: no cell is supported by more than {settings.tolerated} of "
            f"{len(donors)} sites; lower tolerated-sites or let sites send more rows"
        )
    bank = np.stack(features)
    kept = allowed[cells]
    there = tuple(covering_radius(rows[kept & (origin == at)], bank) for at in range(len(donors)))
    return Merged(
        bank,
        np.full(len(bank), -1, dtype=np.int32),
        all_but(there, f),
        int((allowed & ~sure).sum()),
        int((~kept).sum()),
        {"memory_bytes": needed},
        there,
    )


def _unconfirmed(donors: Sequence[Donor], settings: MergeSettings, name: str) -> Merged:
    """A section made at so few sites that no row of it can be confirmed by another site."""
    if settings.single_source == SINGLE_SOURCE_DROP:
        names = ", ".join(d.site for d in donors)
        raise CoresetError(
            f"{name}: only {names} makes this product, too few to tolerate "
            f"{settings.tolerated} faulty site(s), and single-source='drop'"
        )
    from fedpatchcore.aggregation.federated_coreset import federated_coreset

    merged = federated_coreset(donors, replace(settings, weighted=False))
    there = reaches(donors, merged.features)
    radius = all_but(there, settings.tolerated)
    return replace(merged, radius=radius, flagged=len(merged.features), reaches=there)
