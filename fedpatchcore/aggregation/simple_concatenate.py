"""simple_concatenate: the sites' coresets side by side, read one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings, quotas, reaches, union

__all__ = ["simple_concatenate"]


def simple_concatenate(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Keep everything if it fits; else each site's first rows, up to its quota.

    Sites send rows in order of selection, so the first rows are the coreset the site itself
    would have made at that size. Quotas are equal, or by images with ``weighted``.
    """
    keep = quotas(donors, settings.size, weighted=settings.weighted) if donors else []
    kept, origin = union([replace(d, first=k) for d, k in zip(donors, keep, strict=True)])
    found = reaches(donors, kept)
    return Merged(kept, origin, max(found), reaches=found)
