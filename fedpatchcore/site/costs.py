"""What a site says before it looks at its images: what they cost here, how much of them is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpatchcore.features.cost import Pace, cost_of, share_seen, sizes_of

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["tell_cost"]


def tell_cost(site: Site, section: str) -> float:
    """Say it for a section's training images whose features are not in the cache.

    Returns:
        Share of the pictures that the geometry shows, 0 where it shows all.
    """
    images, backbone = site.training_images(section).used, site.backbone
    fresh = [path for path in images if not site.extractor.holds(path)]
    sizes = sizes_of(fresh or images)
    if fresh:
        cost = cost_of(backbone, sizes, len(fresh), batch_size=site.config.batch_size)
        if cost is not None:
            site.say(f"{section}: {cost.told(budget=site.budget)}")
            site.extractor.pace = Pace(
                len(fresh), cost.seconds, lambda line: site.say(f"{section}: {line}")
            )
    if backbone.geometry.kind != "crop":
        return 0.0
    share = share_seen(backbone.geometry, sizes)
    if share < 1:
        site.say(f"{section}: geometry='crop' shows {share:.0%} of the pictures' area")
    return share
