"""coordinate_median: per coordinate, the median over sites of *aligned* rows.

Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018, for the median; what is
aligned and which cells count: `fedpatchcore.aggregation.aligned`. Whatever f of 2f + 1
sites send, each coordinate of a row stays within the range of the honest ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedpatchcore.aggregation.aligned import merge_aligned
from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings
from fedpatchcore.robustness import medians

__all__ = ["coordinate_median"]


def coordinate_median(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Bank of coordinate-wise medians; see `merge_aligned` for its rules."""
    return merge_aligned(donors, settings, medians.coordinate_median, name="coordinate_median")
