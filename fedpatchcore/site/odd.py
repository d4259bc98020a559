"""What a site says, and keeps to itself, of its own normal images: who decides, who is odd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.detection.scoring import PatchScores
from fedpatchcore.detection.suspects import Suspect, least_explained
from fedpatchcore.detection.telling import named_suspects, rests_on

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["odd_images", "tell_normals"]


def tell_normals(site: Site, product: str) -> None:
    """Say what the product's threshold rests on and which images the rest explains least."""
    normals = site.normals.get(product)
    if normals is None:
        return
    target = site.config.target_fpr
    found = normals.threshold("global", target)
    promise = found.promise(normals.folds)
    if found.images:
        site.say_own(f"{product}: threshold {found.value:.4g} rests on {promise.worth}")
    for line in promise.shortcomings(target):
        site.say_own(f"WARNING {product}: {line}")
    paths, _, suspects = odd_images(site, product)
    if not suspects:
        return
    names = [paths[one.number].name for one in suspects]
    site.say_own(f"{product}: least explained by the rest: {named_suspects(suspects, names)}")
    if decides := rests_on(found, names[0]):
        site.say_own(f"WARNING {product}: {decides}")


def odd_images(site: Site, product: str) -> tuple[tuple[Path, ...], PatchScores, list[Suspect]]:
    """The product's normal images, their scores by banks without them, and the worst of them."""
    scored = site.normals[product].scored["global"]
    return scored.images, scored.by_patch, least_explained(scored.scores)
