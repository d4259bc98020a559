"""A site's own bank beside the global one: what either knows is normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpatchcore.bank.section import Section
from fedpatchcore.detection.scale import Scale
from fedpatchcore.detection.scoring import PatchScores, nearer
from fedpatchcore.errors import ConfigError
from fedpatchcore.site.measuring import Scored
from fedpatchcore.site.normals import Normals

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Hybrid", "hybrid_of"]


@dataclass(frozen=True)
class Hybrid:
    """The smaller of both scores, and the threshold that was calibrated on it.

    Attributes:
        scales: of the site's own bank and of the global one; None: both are L2 distances between
            patches and compared as they are.
    """

    scales: tuple[Scale, Scale] | None
    threshold: float = math.nan

    def __call__(self, local: Scored, given: Scored) -> Scored:
        """Scores of the same images by both."""
        mine, theirs = (PatchScores(s.patches, s.scores, s.nearest) for s in (local, given))
        if self.scales:
            mine, theirs = self.scales[0](mine), self.scales[1](theirs)
        found = nearer(mine, theirs)
        return Scored(local.images, found.images, found.patches, found.nearest)


def hybrid_of(site: Site, normals: Normals, rows: Section) -> Hybrid | None:
    """For a bank that differs in kind from the site's own: a private one, or one scored by vote.

    None where there is no bank of the site's own to compare with, or no common scale.
    """
    config = site.config
    if "local" not in normals.scored or (config.dp == "off" and config.votes < 2):
        return None
    local, given = normals.scored["local"], normals.scored["global"]
    scales = None
    if config.dp != "off":
        own = (normals.threshold(n, config.target_fpr).value for n in ("local", "global"))
        try:
            scales = tuple(
                Scale.of(one.patches, limit) for one, limit in zip((local, given), own, strict=True)
            )
        except ConfigError as error:
            site.say(f"no hybrid of the site's own bank and the global one: {error}")
            return None
    together = Hybrid(scales)
    scored = Normals({"hybrid": together(local, given)}, normals.groups, normals.folds)
    return Hybrid(scales, scored.threshold("hybrid", config.target_fpr).value)
