"""Fitting on one machine: images of good parts → a memory bank with its thresholds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.data.content import content_hash
from fedpatchcore.data.images import list_images
from fedpatchcore.detection.calibration import Threshold, calibrate, hold_out
from fedpatchcore.detection.reading import Files, Pictures, Source
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.detection.suspects import Suspect, least_explained
from fedpatchcore.detection.teaching import Progress, Teaching
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.extraction import Extractor

__all__ = ["SITE", "Fitted", "Learned", "bank_rows", "bank_scorer", "fit_bank"]

SITE = "this-machine"


@dataclass(frozen=True)
class Learned:
    """What fitting found out of one product besides its rows.

    Attributes:
        taught, held_out, bad: images that taught, that were set aside, that could not be read.
        folds: behind the threshold; 0: images were held out, or there is none.
        images: those that were scored by banks without them, as they were given.
        scores: of these; ``scores.patches`` make their anomaly maps.
        suspects: the least explained of them.
    """

    taught: int
    held_out: int
    bad: int
    threshold: Threshold
    folds: int = 0
    images: Sequence[Any] = ()
    scores: PatchScores | None = None
    suspects: list[Suspect] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """A bank of one site, this machine, and what was learned of each product."""

    bank: MemoryBank
    learned: Mapping[str, Learned]


def fit_bank(
    backbone: Backbone,
    products: Mapping[str, Any],
    config: DetectorSettings,
    *,
    groups: Mapping[Path, str] | None = None,
    excluded: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    extractor: Extractor | None = None,
) -> Fitted:
    """A bank of one site, this machine.

    Args:
        products: product name → folder, or a sequence of paths, PIL images, uint8 arrays
            ``[H, W, 3]`` or tensors ``[3, H, W]``.
        groups: of files that belong together; others are each their own.
        excluded: images by product that a person took out beforehand, for the bank's header.
        progress: folds done and their number, product by product; within a memory budget pictures,
            each of which is gone through twice.
        extractor: of this backbone, gives the features where all images are files: it knows those
            of its cache, and pictures that were decoded before.

    Raises:
        DataError: a product without readable images.
    """
    source = Pictures(backbone, config) if extractor is None else Files(extractor)
    sections, learned = {}, {}
    for name, given in products.items():
        images = _listed(given)
        if not images:
            raise DataError(f"product '{name}' has no images to learn from")
        how = (config, groups or {}, progress, source)
        sections[name], learned[name] = _section(backbone, images, *how)
    known = {n: one.threshold for n, one in learned.items() if one.threshold.images}
    bank = MemoryBank(
        backbone.fingerprint,
        sections,
        (SITE,),
        aggregation="none",
        scoring=config.own_scoring,
        thresholds={name: {SITE: one.value} for name, one in known.items()},
        calibration={name: {SITE: one.told(learned[name].folds)} for name, one in known.items()},
        excluded={name: {SITE: count} for name, count in (excluded or {}).items() if count},
    )
    return Fitted(bank, learned)


def _section(
    backbone: Backbone,
    images: Sequence,
    config: DetectorSettings,
    named: Mapping[Path, str],
    progress: Progress | None,
    source: Source,
) -> tuple[Section, Learned]:
    """Rows of one product, and their threshold."""
    keys = _keys(images)
    groups = [_group(one, key, named) for one, key in zip(images, keys, strict=True)]
    by_folds = config.calibration == "folds"
    share = 0.0 if by_folds else config.holdout
    held = hold_out(keys, share, seed=config.seed, groups=groups)
    work = Teaching(backbone, images, config, keys, groups, progress, source)
    work.learn(np.flatnonzero(~held).tolist(), by_folds)
    origin = np.zeros(len(work.rows), dtype=np.int32)
    section = Section(work.rows, origin, work.radius, work.radius, {SITE: len(work.good)})
    bad = int((~held).sum()) - len(work.good)
    at, scores = work.scores() if by_folds else work.held(np.flatnonzero(held).tolist())
    if scores is None:
        return section, Learned(len(work.good), 0, bad, calibrate([], config.target_fpr))
    threshold = calibrate(
        scores.images, config.target_fpr, groups=[groups[i] for i in at], by_folds=by_folds
    )
    told = [images[i] for i in at]
    suspects = least_explained(scores.images)
    return section, Learned(
        len(work.good), int(held.sum()), bad, threshold, work.folds, told, scores, suspects
    )


def bank_rows(
    patches: np.ndarray, backbone: Backbone, config: DetectorSettings
) -> tuple[np.ndarray, float]:
    """A bank's rows of one site's patches ``[m, D]``, and their covering radius."""
    size = config.coreset_size or round(config.coreset_ratio * len(patches))
    chosen = selector(config.coreset)(
        patches,
        max(1, min(size, config.global_bank_size)),
        seed=config.seed,
        device=str(backbone.device),
    )
    return patches[chosen.indices], chosen.radius


def bank_scorer(rows: np.ndarray, backbone: Backbone, config: DetectorSettings) -> Scorer:
    """What scores by these rows as the settings say."""
    return Scorer(rows, **config.own_scoring, device=backbone.device)


def _listed(given: Any) -> list:
    if isinstance(given, str | Path):
        return list(list_images(given))
    return list(given)


def _group(image: Any, key: str, named: Mapping[Path, str]) -> Hashable:
    return named.get(Path(image), key) if isinstance(image, str | Path) else key


def _keys(images: Sequence) -> list[str]:
    """Stable keys of the images: content for files, position for objects."""
    keys = []
    for at, image in enumerate(images):
        try:
            keys.append(content_hash(image) if isinstance(image, str | Path) else f"{at:08d}")
        except ImageError:
            keys.append(f"unreadable:{at:08d}")
    return keys
