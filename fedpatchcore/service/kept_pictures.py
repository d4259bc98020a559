"""Pictures of a site's verdicts, for the eyes of this site alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedpatchcore.pictures.cases import save_cases
from fedpatchcore.pictures.suspects import save_suspects
from fedpatchcore.site.measuring import Scored
from fedpatchcore.site.odd import odd_images
from fedpatchcore.site.site import Site
from fedpatchcore.wire.messages import EvaluateReply

__all__ = ["keep_pictures"]


def keep_pictures(
    site: Site, reply: EvaluateReply, scored: Mapping[str, Scored], folder: Path
) -> None:
    """Write ``heatmaps/`` and ``odd/`` of an evaluation. Raises OSError."""
    for result in reply.results:
        if result.product in scored:
            save_cases(
                folder / "heatmaps",
                site.name,
                result.product,
                scored[result.product],
                threshold=result.threshold,
                geometry=site.backbone.geometry,
                count=site.config.heatmaps,
                read=site.backbone.open,
            )
    for result in reply.results:
        if result.product in site.normals:
            _keep_odd(site, result.product, folder / "odd")


def _keep_odd(site: Site, product: str, folder: Path) -> None:
    """Training images that the rest explains least."""
    images, scores, suspects = odd_images(site, product)
    save_suspects(
        folder,
        product,
        images,
        scores,
        suspects,
        threshold=site.normals[product].threshold("global", site.config.target_fpr).value,
        geometry=site.backbone.geometry,
        read=site.backbone.open,
    )
