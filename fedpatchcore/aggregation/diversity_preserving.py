"""diversity_preserving: every site keeps a guaranteed share of the bank, spent where it adds most.

Farthest-point selection under a partition constraint ("fair k-center", Kleindessner,
Awasthi & Morgenstern, ICML 2019): site i owns exactly q_i rows, q_i proportional to its
images with ``weighted``, equal otherwise. Rows are picked one at a time; each pick is the row
farthest from everything picked so far, *of whichever site*, among the sites whose quota is
not yet used up. So a site whose normal is unlike the others' cannot be crowded out by large
sites (as it can in federated_coreset), and no row repeats what another site already covers
(as it does in simple_concatenate).

Picks depend on all sites' rows at once. Where those do not fit into the memory allowed, each
site is represented by its first rows, as many of each as fit: a coreset of its coreset (cf.
Chiplunkar, Kale & Ramamoorthy, "How to Solve Fair k-Center in Massive Data Models", ICML
2020, who keep a greedy coreset of each group). The radius is measured over *all* rows in any
case, and the record names how many of each site were considered; no factor is proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings, quotas, reaches, union
from fedpatchcore.errors import CoresetError
from fedpatchcore.spelling import typed

__all__ = ["diversity_preserving"]

COPIES = 4  # the rows, centred ones, and what sorting for their median takes


def diversity_preserving(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Greedy k-center in which each donor fills exactly its quota."""
    if not donors:
        raise CoresetError("nothing to aggregate: no site gave rows for this section")
    left = np.array(quotas(donors, settings.size, weighted=settings.weighted))
    considered, notes = _that_fit(donors, left, settings)
    rows, origin = union(considered)
    x = torch.from_numpy(rows).to(settings.device or "cpu")
    x = x - x.median(0).values
    norms = x.square().sum(1)
    owner = torch.from_numpy(origin.astype(np.int64)).to(x.device)
    allowed = np.flatnonzero(left[origin] > 0)
    at = int(allowed[np.random.default_rng(settings.seed).integers(len(allowed))])
    distance = torch.full_like(norms, torch.inf)  # squared; -1 where no longer allowed
    distance[torch.from_numpy(left[origin] == 0).to(x.device)] = -1
    picked = []
    for _ in range(int(left.sum())):
        picked.append(at)
        new = torch.addmv(norms, x, x[at], alpha=-2).add_(norms[at]).clamp_(min=0)
        distance = torch.where(distance < 0, distance, torch.minimum(distance, new))
        distance[at] = -1
        left[origin[at]] -= 1
        if left[origin[at]] == 0:
            distance[owner == int(origin[at])] = -1
        at = int(distance.argmax())
    chosen = np.array(picked)
    kept = rows[chosen]
    return Merged(kept, origin[chosen], max(reaches(donors, kept)), notes=notes)


def _that_fit(
    donors: Sequence[Donor], quota: np.ndarray, settings: MergeSettings
) -> tuple[Sequence[Donor], dict[str, int]]:
    """Donors with the same number of first rows each (or their quota, if more) that fit."""
    a_row = 4 * COPIES * donors[0].features.shape[1]
    sizes = np.array([len(d) for d in donors])
    memory = settings.memory.require(
        a_row * int(quota.sum()),
        f"diversity_preserving with {quota.sum():,} rows",
        f"lower global-bank-size, or {typed('aggregation', 'federated_coreset')}",
    )
    if a_row * int(sizes.sum()) <= memory:
        return donors, {}
    low, high = 0, int(sizes.max())
    while low < high:  # the largest prefix that fits
        middle = (low + high + 1) // 2
        fits = a_row * int(np.minimum(sizes, np.maximum(middle, quota)).sum()) <= memory
        low, high = (middle, high) if fits else (low, middle - 1)
    first = np.minimum(sizes, np.maximum(low, quota))
    cut = [replace(d, first=int(k)) for d, k in zip(donors, first, strict=True)]
    return cut, {"considered_rows": int(first.sum()), "considered_rows_a_site": low}
