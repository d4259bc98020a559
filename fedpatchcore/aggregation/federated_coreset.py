"""federated_coreset: greedy k-center over the union of the sites' coresets.

A coreset of coresets: a patch within r_i of its site's coreset lies within r_i + R of the
bank, where R is the radius reported here (triangle inequality; cf. mergeable coresets,
Malkomes et al., NeurIPS 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

from fedpatchcore.aggregation.common import Donor, Merged, Settings, union
from fedpatchcore.coreset import greedy_k_center

__all__ = ["federated_coreset"]


def federated_coreset(donors: Sequence[Donor], settings: Settings) -> Merged:
    """Cover all donated rows as evenly as ``settings.size`` rows can.

    With ``weighted``, each donor first keeps only a prefix of its rows in proportion to its
    images, so that a small site cannot claim as much of the bank as a large one.
    """
    if settings.weighted:
        total = sum(len(d.features) for d in donors)
        images = sum(d.images for d in donors)
        keep = [max(1, min(len(d.features), round(total * d.images / images))) for d in donors]
        donors = [
            Donor(d.site, d.features[:k], d.images) for d, k in zip(donors, keep, strict=True)
        ]
    rows, origin = union(donors)
    chosen = greedy_k_center(rows, settings.size, seed=settings.seed, device=settings.device)
    return Merged(rows[chosen.indices], origin[chosen.indices], chosen.radius)
