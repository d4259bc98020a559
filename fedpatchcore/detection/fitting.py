"""Fitting on one machine: images of good parts → a memory bank with its thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.data.images import content_hash, list_images
from fedpatchcore.detection.calibration import calibrate, hold_out
from fedpatchcore.detection.reading import feature_batches
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.extraction import gathered

__all__ = ["fit_bank"]

SITE = "this-machine"


def fit_bank(
    backbone: Backbone, products: Mapping[str, Any], config: DetectorSettings
) -> MemoryBank:
    """A bank of one site, this machine.

    Args:
        products: product name → folder, or a sequence of paths, PIL images, uint8 arrays
            ``[H, W, 3]`` or tensors ``[3, H, W]``.

    Raises:
        DataError: a product without readable images.
    """
    sections, thresholds = {}, {}
    for name, given in products.items():
        images = _listed(given)
        if not images:
            raise DataError(f"product '{name}' has no images to learn from")
        sections[name], value = _section(backbone, images, config)
        if value is not None:
            thresholds[name] = {SITE: value}
    return MemoryBank(
        backbone.fingerprint,
        sections,
        (SITE,),
        aggregation="none",
        scoring={"neighbours": config.neighbours, "reweight": config.reweight},
        thresholds=thresholds,
    )


def _section(
    backbone: Backbone, images: Sequence, config: DetectorSettings
) -> tuple[Section, float | None]:
    """Rows of one product and, if images were set aside, their threshold."""
    held = hold_out(_keys(images), config.holdout, seed=config.seed)
    teach = [image for image, h in zip(images, held, strict=True) if not h]
    features = gathered(feature_batches(backbone, teach, config), len(teach))
    patches = features.reshape(-1, features.shape[-1])
    size = config.coreset_size or round(config.coreset_ratio * len(patches))
    chosen = selector(config.coreset)(
        patches,
        max(1, min(size, config.global_bank_size)),
        seed=config.seed,
        device=str(backbone.device),
    )
    rows = patches[chosen.indices]
    origin = np.zeros(len(rows), dtype=np.int32)
    section = Section(rows, origin, chosen.radius, chosen.radius, {SITE: len(teach)})
    kept = [image for image, h in zip(images, held, strict=True) if h]
    if not kept:
        return section, None
    scorer = Scorer(rows, neighbours=config.neighbours, reweight=config.reweight)
    scores = [scorer(batch).images for batch in feature_batches(backbone, kept, config)]
    return section, calibrate(np.concatenate(scores), config.target_fpr).value


def _listed(given: Any) -> list:
    if isinstance(given, str | Path):
        return list(list_images(given))
    return list(given)


def _keys(images: Sequence) -> list[str]:
    """Stable keys for the hold-out: content for files, position for objects."""
    keys = []
    for at, image in enumerate(images):
        try:
            keys.append(content_hash(image) if isinstance(image, str | Path) else f"{at:08d}")
        except ImageError:
            keys.append(f"unreadable:{at:08d}")
    return keys
