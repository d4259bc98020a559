"""Scores of several images by several banks, and what they are worth where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.data.images import union_mask
from fedpatchcore.data.products import TestImage
from fedpatchcore.detection.scoring import PatchScores, Scorer, anomaly_map
from fedpatchcore.detection.scoring import nearer as nearer_patches
from fedpatchcore.features.extraction import Extractor, Progress, Tally
from fedpatchcore.metrics import curves as metrics
from fedpatchcore.metrics import spro
from fedpatchcore.metrics.verdicts import kinds_found
from fedpatchcore.texts import one_line
from fedpatchcore.wire.bounds import LONGEST

__all__ = ["Scored", "called", "decisions", "measure", "nearer", "score_images", "truth_masks"]


@dataclass(frozen=True)
class Scored:
    """Scores of several images against one bank.

    Attributes:
        images: the images that could be read, in their given order.
        scores: float64 ``[N]``.
        patches: float32 ``[N, h, w]``.
        nearest: int64 ``[N, h, w]``, bank rows.
    """

    images: tuple
    scores: np.ndarray
    patches: np.ndarray
    nearest: np.ndarray


def score_images(
    extractor: Extractor,
    images: Sequence,
    scorers: Mapping[str, Scorer],
    tally: Tally,
    progress: Progress | None = None,
) -> dict[str, Scored]:
    """Score images (paths or `TestImage`) with several banks in one pass over the pixels."""
    paths = [image.path if isinstance(image, TestImage) else image for image in images]
    kept: list[int] = []
    out: dict[str, list] = {name: [] for name in scorers}
    batch: list[np.ndarray] = []

    def flush() -> None:
        if batch:
            stacked = np.stack(batch)
            for name, scorer in scorers.items():
                out[name].append(scorer(stacked))
            batch.clear()

    for index, features in extractor.stream(paths, tally, progress):
        kept.append(index)
        batch.append(features)
        if len(batch) == 16:
            flush()
    flush()
    order = np.argsort(kept)
    readable = tuple(images[kept[i]] for i in order)
    return {
        name: Scored(
            readable,
            np.concatenate([s.images for s in parts])[order],
            np.concatenate([s.patches for s in parts])[order],
            np.concatenate([s.nearest for s in parts])[order],
        )
        for name, parts in out.items()
    }


def nearer(one: Scored, other: Scored) -> Scored:
    """Scores of the same images by the smaller of both distances, see `scoring.nearer`."""
    found = nearer_patches(*(PatchScores(s.patches, s.scores, s.nearest) for s in (one, other)))
    return Scored(one.images, found.images, found.patches, found.nearest)


def truth_masks(extractor: Extractor, tests: Sequence[TestImage]) -> np.ndarray | None:
    """Defect masks bool ``[N, S, S]`` in the backbone's geometry; None if none is annotated.

    An image of a defect without a mask cannot be judged by pixel, so the masks are used only
    if at least one defect has one; unannotated defects are then left out by `measure`.
    """
    if not any(t.masks for t in tests):
        return None
    geometry = extractor.backbone.geometry
    masks = np.zeros((len(tests), geometry.size, geometry.size), dtype=bool)
    for at, test in enumerate(tests):
        if test.masks:
            size = extractor.backbone.open(test.path).size
            masks[at] = geometry.mask(union_mask(test.masks, size))
    return masks


def called(scored: Scored, threshold: float, prefix: str = "") -> dict[str, int]:
    """Test images called defective, rightly and wrongly; 0 while the threshold is NaN."""
    labels = np.array([t.anomalous for t in scored.images], dtype=bool)
    over = scored.scores > threshold
    return {
        f"{prefix}true_positives": int((over & labels).sum()),
        f"{prefix}false_positives": int((over & ~labels).sum()),
    }


def decisions(scored: Scored, threshold: float) -> dict[str, Any]:
    """What a threshold decides on test images, under `ProductResult`'s names."""
    bad = sum(t.anomalous for t in scored.images)
    good, found = len(scored.images) - bad, called(scored, threshold)
    counts = {"good": good, "defective": bad, **found, "true_negatives": 0, "false_negatives": 0}
    if not math.isfinite(threshold):
        return counts | {"kinds": {}}
    return counts | {
        "true_negatives": good - found["false_positives"],
        "false_negatives": bad - found["true_positives"],
        "kinds": _kinds(scored, scored.scores > threshold),
    }


def _kinds(scored: Scored, over: np.ndarray) -> dict[str, tuple[int, int]]:
    """By kind of defect how many were found, and of how many."""
    kinds = kinds_found(
        (one_line(test.label, LONGEST) or "?", found)
        for test, found in zip(scored.images, over.tolist(), strict=True)
        if test.anomalous
    )
    return {name: (rate.count, rate.of) for name, rate in sorted(kinds.items())}


def measure(scored: Scored, masks: np.ndarray | None, size: int) -> dict[str, float]:
    """Image and pixel metrics of scored test images, under `ProductResult`'s names."""
    labels = np.array([t.anomalous for t in scored.images])
    found = {
        "image_auroc": metrics.image_auroc(scored.scores, labels),
        "average_precision": metrics.average_precision(scored.scores, labels),
        "f1_best": metrics.f1_best(scored.scores, labels)[0],
    }
    if masks is not None:
        judged = np.array([not t.anomalous or bool(t.masks) for t in scored.images])
        maps = anomaly_map(scored.patches[judged], size)
        found["pixel_auroc"] = metrics.pixel_auroc(maps, masks[judged])
        found["aupro"] = spro.aupro(maps, masks[judged])
    return found
