"""site_vote: every site keeps its own part of the bank, and a patch is judged by all of them.

Other aggregations merge rows, after which nobody can tell what rests on whose word: one site
that sends the features of a defect has made that defect normal for all (defect smuggling).
Here rows stay apart by origin, an equal share a site, and the bank is *scored* by vote: the
distance of a patch is the (f + 1)-th smallest of the sites' distances, f = ``tolerated``
(`fedpatchcore.detection.search.Ballot` has the bounds). Nothing that f sites send can make a patch
look normal that no honest site has seen, nor make one look strange that f + 1 honest sites know. A
site that judges trusts its own rows besides, and asks one more of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings
from fedpatchcore.aggregation.simple_concatenate import simple_concatenate
from fedpatchcore.deviation import all_but
from fedpatchcore.errors import CoresetError
from fedpatchcore.robustness.support import SINGLE_SOURCE_DROP

__all__ = ["site_vote"]


def site_vote(donors: Sequence[Donor], settings: MergeSettings) -> Merged:
    """Each site's first rows, an equal share each (``weighted`` has no effect: votes are equal).

    A section made at ≤ f sites has nobody to confirm it: every row counts as flagged, and with
    ``single_source="drop"`` it is left out (CoresetError).
    """
    merged = simple_concatenate(donors, replace(settings, weighted=False))
    merged = replace(merged, radius=all_but(merged.reaches, settings.tolerated))
    if len(donors) > settings.tolerated:
        return merged
    if settings.single_source == SINGLE_SOURCE_DROP:
        names = ", ".join(d.site for d in donors)
        raise CoresetError(
            f"site_vote: only {names} makes this product, too few to tolerate "
            f"{settings.tolerated} faulty site(s), and single-source='drop'"
        )
    return replace(merged, flagged=len(merged.features))
