"""A site's own bank beside the global one: what either knows is normal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpatchcore.detection.scale import Scale, Together
from fedpatchcore.errors import ConfigError
from fedpatchcore.site.measuring import Scored
from fedpatchcore.site.normals import Normals

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["by_both", "hybrid_of"]


def by_both(how: Together, local: Scored, given: Scored) -> Scored:
    """Scores of the same images by both banks."""
    return Scored.of(local.images, how(local.by_patch, given.by_patch))


def hybrid_of(site: Site, normals: Normals) -> Together | None:
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
    top = config.scoring.get("top", 0)
    both = {"hybrid": by_both(Together(scales, top=top), local, given)}
    scored = Normals(both, normals.groups, normals.folds)
    return Together(scales, scored.threshold("hybrid", config.target_fpr).value, top)
