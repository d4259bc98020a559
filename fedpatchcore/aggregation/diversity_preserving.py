"""diversity_preserving: every site keeps a guaranteed share of the bank, spent where it adds most.

Farthest-point selection under a partition constraint ("fair k-center", Kleindessner,
Awasthi & Morgenstern, ICML 2019): site i owns exactly q_i rows, q_i proportional to its
images with ``weighted``, equal otherwise. Rows are picked one at a time; each pick is the row
farthest from everything picked so far, *of whichever site*, among the sites whose quota is
not yet used up. So a site whose normal is unlike the others' cannot be crowded out by large
sites (as it can in federated_coreset), and no row repeats what another site already covers
(as it does in simple_concatenate).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedpatchcore.aggregation.common import Donor, Merged, Settings, covering_radius, quotas, union

__all__ = ["diversity_preserving"]


def diversity_preserving(donors: Sequence[Donor], settings: Settings) -> Merged:
    """Greedy k-center in which each donor fills exactly its quota."""
    rows, origin = union(donors)
    left = np.array(quotas(donors, settings.size, weighted=settings.weighted))
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
    return Merged(rows[chosen], origin[chosen], covering_radius(rows, rows[chosen]))
