"""geometric_median: the point nearest to all sites' *aligned* rows at once.

Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022,
for the geometric median; what is aligned and which cells count:
`fedpatchcore.aggregation.aligned`. Unlike coordinate-wise medians, its rows lie in the
convex hull of the sites' positions, so a row never combines coordinates that no mixture of
sites has.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedpatchcore.aggregation.aligned import merge_aligned
from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings
from fedpatchcore.robustness import medians

__all__ = ["geometric_median"]


def geometric_median(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Bank of geometric medians; see `merge_aligned` for its rules."""
    return merge_aligned(donors, settings, medians.geometric_median, name="geometric_median")
