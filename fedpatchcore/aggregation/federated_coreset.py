"""federated_coreset: greedy k-center over the union of the sites' coresets.

A coreset of coresets: a patch within r_i of its site's coreset lies within r_i + R of the
bank, where R is the radius reported here (triangle inequality; cf. mergeable coresets,
Malkomes et al., NeurIPS 2015).

Rows are read one site at a time. If all of them do not fit into the memory allowed, they are
merged in a tree (`fedpatchcore.coreset.blocks`); R is then measured over all of them in a second
pass, and the record says how far at most it is from the least possible one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings, reaches
from fedpatchcore.coreset.blocks import BlockCoreset
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.errors import CoresetError

__all__ = ["federated_coreset"]


def federated_coreset(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Cover all donated rows as evenly as ``settings.size`` rows can.

    With ``weighted``, each donor first keeps only a prefix of its rows in proportion to its
    images, so that a small site cannot claim as much of the bank as a large one.

    Raises:
        ConfigError: the memory allowed is too small even for the tree.
    """
    if not donors:
        raise CoresetError("nothing to aggregate: no site gave rows for this section")
    everyone, total = donors, sum(len(d) for d in donors)
    if settings.weighted:
        images = sum(d.images for d in donors)
        keep = [max(1, min(len(d), round(total * d.images / images))) for d in donors]
        donors = [replace(d, first=k) for d, k in zip(donors, keep, strict=True)]
        total = sum(len(d) for d in donors)
    dimension = donors[0].features.shape[1]
    exactly = exact_memory(total, settings.size, dimension)
    memory = settings.memory.require(
        min(exactly, least_memory(settings.size, dimension)),
        f"merging {total:,} rows to {settings.size:,}",
        "or lower global-bank-size",
    )
    chosen = BlockCoreset(settings.size, min(memory, exactly), settings.seed, settings.device)
    for at, donor in enumerate(donors):
        chosen.add(donor.read(), np.full(len(donor), at))
    made = chosen.result()
    origin = made.ids.astype(np.int32)
    if made.exact and not settings.weighted:
        return Merged(made.rows, origin, made.radius)
    radius = max(reaches(everyone, made.rows))  # of all rows that were given
    if made.exact:
        return Merged(made.rows, origin, radius)
    notes = {
        "tree": {
            "blocks": made.blocks,
            "depth": made.depth,
            "memory_bytes": memory,
            "exact_memory_bytes": exactly,
            "radius_proved": made.radius,
            "factor": radius / made.at_least if made.at_least else 1.0,
            "factor_worst": made.factor_worst,
        }
    }
    return Merged(made.rows, origin, radius, notes=notes)
