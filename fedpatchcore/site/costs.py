"""What a site says before it looks at its images: what they cost here, how much of them is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedpatchcore.data.amounts import seen_told
from fedpatchcore.features.cost import Pace, cost_of, share_seen, sizes_of

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["foreseen", "tell_cost"]

HEADS = 100  # of pictures, of all products, that are read for the roll call


def foreseen(site: Site) -> dict[str, Any]:
    """What `SiteFacts` tells of pictures and of the work on them, by its fields.

    Heads of a few pictures are read, none is decoded. Of a private run only what an image takes
    that is as large as the settings say: nothing depends on what the site has.
    """
    backbone, config = site.backbone, site.config
    private, side = config.dp != "off", backbone.geometry.size
    few = max(2, HEADS // max(1, len(site.products)))
    sizes = {name: sizes_of(p.train, few) for name, p in site.products.items() if not private}
    every = [size for some in sizes.values() for size in some] or [(side, side)]
    images = {name: 0 if private else len(p.train) for name, p in site.products.items()}
    cost = cost_of(backbone, every, sum(images.values()), batch_size=config.batch_size)
    most = max(images.values(), default=0) if config.sections != "shared" else cost.images
    held = cost.features * most // max(1, cost.images)
    cropped = backbone.geometry.kind == "crop"
    return {
        "seen": tuple(
            share_seen(backbone.geometry, sizes[name]) if cropped and sizes.get(name) else 0.0
            for name in site.products
        ),
        "seconds": cost.seconds,
        "features": cost.features,
        "held": min(held, site.budget) if site.budget else held,
    }


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
    if told := seen_told(share):
        site.say(f"{section}: {told}")
    return share
