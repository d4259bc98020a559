"""Scores of several images by several banks, and what they are worth where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.data.images import union_mask
from fedpatchcore.data.products import TestImage
from fedpatchcore.detection.mosaic import Mosaic
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.features.extraction import Extractor, Progress
from fedpatchcore.features.geometry import Geometry, Grid
from fedpatchcore.features.tally import Tally
from fedpatchcore.metrics import curves as metrics
from fedpatchcore.metrics import spro
from fedpatchcore.metrics.verdicts import kinds_found
from fedpatchcore.texts import one_line
from fedpatchcore.wire.bounds import LONGEST

__all__ = ["Scored", "called", "decisions", "measure", "score_images", "truth_masks"]

AT_ONCE = 16  # images scored in one call


@dataclass(frozen=True)
class Scored:
    """Scores of several images against one bank; their grids may differ.

    Attributes:
        images: the images that could be read, in their given order.
        scores: float64 ``[N]``.
        patches: of each image, float32 ``[h, w]``.
        nearest: of each image, int64 ``[h, w]``, bank rows.
    """

    images: tuple
    scores: np.ndarray
    patches: Sequence[np.ndarray]
    nearest: Sequence[np.ndarray]

    @classmethod
    def of(cls, images: tuple, found: PatchScores) -> Scored:
        """Scores of these images."""
        return cls(images, found.images, found.patches, found.nearest)

    @property
    def by_patch(self) -> PatchScores:
        """The scores alone."""
        return PatchScores(self.patches, self.scores, self.nearest)

    @property
    def grids(self) -> list[Grid]:
        """Rows and columns of patches of each image."""
        return [one.shape for one in self.patches]

    def some(self, wanted: np.ndarray) -> Scored:
        """Those of them, bool ``[N]``."""
        at = np.flatnonzero(wanted).tolist()
        return Scored(
            tuple(self.images[i] for i in at),
            self.scores[at],
            [self.patches[i] for i in at],
            [self.nearest[i] for i in at],
        )


def score_images(
    extractor: Extractor,
    images: Sequence,
    scorers: Mapping[str, Scorer],
    tally: Tally,
    progress: Progress | None = None,
) -> dict[str, Scored]:
    """Score images (paths or `TestImage`) with several banks in one pass over the pixels."""
    paths = [image.path if isinstance(image, TestImage) else image for image in images]
    stream = _tiled if extractor.backbone.geometry.tiled else _whole
    kept: list[int] = []
    out: dict[str, list[PatchScores]] = {name: [] for name in scorers}
    for found in stream(extractor, paths, scorers, tally, progress, kept):
        for name, one in found.items():
            out[name].append(one)
    readable = tuple(images[at] for at in kept)
    return {name: Scored.of(readable, PatchScores.joined(parts)) for name, parts in out.items()}


def _whole(
    extractor: Extractor,
    paths: Sequence,
    scorers: Mapping[str, Scorer],
    tally: Tally,
    progress: Progress | None,
    kept: list[int],
) -> Iterator[dict[str, PatchScores]]:
    """Scores of a few images of one size at a time."""
    batch: list[np.ndarray] = []

    def scored() -> dict[str, PatchScores]:
        stacked = np.stack(batch)
        batch.clear()
        return {name: scorer(stacked) for name, scorer in scorers.items()}

    for index, features in extractor.stream(paths, tally, progress):
        if batch and (len(batch) == AT_ONCE or features.shape != batch[0].shape):
            yield scored()
        kept.append(index)
        batch.append(features)
    if batch:
        yield scored()


def _tiled(
    extractor: Extractor,
    paths: Sequence,
    scorers: Mapping[str, Scorer],
    tally: Tally,
    progress: Progress | None,
    kept: list[int],
) -> Iterator[dict[str, PatchScores]]:
    """Scores of one image at a time, whose patches are never there at once."""
    whole: dict[str, Mosaic] = {}
    for piece in extractor.pieces(paths, tally, progress):
        for name, scorer in scorers.items():
            mosaic = whole.setdefault(name, Mosaic(scorer.top))
            mosaic.add(piece, scorer(piece.features[None]))
        if piece.last:
            kept.append(piece.index)
            yield {name: mosaic.done() for name, mosaic in whole.items()}
            whole = {}


def truth_masks(
    extractor: Extractor, tests: Sequence[TestImage], grids: Sequence[Grid]
) -> list[np.ndarray] | None:
    """Defect masks bool ``[*geometry.canvas]`` of images of these grids; None without annotation.

    An image of a defect without a mask cannot be judged by pixel, so the masks are used only
    if at least one defect has one; unannotated defects are then left out by `measure`.
    """
    if not any(t.masks for t in tests):
        return None
    geometry = extractor.backbone.geometry
    masks = []
    for test, grid in zip(tests, grids, strict=True):
        if test.masks:
            size = extractor.backbone.open(test.path).size
            masks.append(geometry.mask(union_mask(test.masks, size), grid))
        else:
            masks.append(np.zeros(geometry.canvas(grid), dtype=bool))
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


def measure(
    scored: Scored, masks: Sequence[np.ndarray] | None, geometry: Geometry
) -> dict[str, float]:
    """Image and pixel metrics of scored test images, under `ProductResult`'s names."""
    labels = np.array([t.anomalous for t in scored.images])
    found = {
        "image_auroc": metrics.image_auroc(scored.scores, labels),
        "average_precision": metrics.average_precision(scored.scores, labels),
        "f1_best": metrics.f1_best(scored.scores, labels)[0],
    }
    if masks is not None:
        judged = [not t.anomalous or bool(t.masks) for t in scored.images]
        maps = [map_of(one, geometry) for one, j in zip(scored.patches, judged, strict=True) if j]
        truth = [one for one, j in zip(masks, judged, strict=True) if j]
        found["pixel_auroc"] = metrics.pixel_auroc(maps, truth)
        found["aupro"] = spro.aupro(maps, truth)
    return found
