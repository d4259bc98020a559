"""Training images least like the others: perhaps a defect among the good ones.

Each image is scored against the others with the filter bank, which needs no weights: the mean of
its `TOP` patches that are farthest from any patch of the others. Where one stands out from the
scores of its folder it is named. That is a reason to look, no verdict: of one defective part among
13 good ones, drawn twenty times, 13 were named of cookies, 16 of impellers and 1 of magnetic tiles,
and 20 of 780 good parts with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from fedpatchcore.data.check.findings import NOTE, WARNING, Finding
from fedpatchcore.data.content import content_hash
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.deviation import robust_sigma
from fedpatchcore.errors import ImageError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.texts import counted

__all__ = ["least_alike", "unlike_rest"]

TOP = 5  # patches
OTHERS = 40  # images that each is compared with
ENOUGH = 8  # images, to say what is usual
ODD = 2.5  # modified z-score of the logarithm, of a few images; of many the usual largest
VERY = 0.5  # above it: a warning


def unlike_rest(
    product: str,
    paths: Sequence[Path],
    *,
    value_range: str = "",
    done: Callable[[int], None] = lambda n: None,
) -> list[Finding]:
    """A finding on the images that stand out, if any do, the oddest first."""
    scores = least_alike(paths, value_range=value_range, done=done)
    known = {path: score for path, score in scores.items() if score > 0}
    if len(known) < ENOUGH:
        return []
    logs = np.log(list(known.values()))
    away = logs - np.median(logs)
    z = away / max(robust_sigma(logs), 0.02)
    odd = sorted(zip(z, known, strict=True), key=lambda pair: (-pair[0], pair[1].as_posix()))
    limit = max(ODD, math.sqrt(2 * math.log(len(known))))
    found = [path for score, path in odd if score > limit]
    if not found:
        return []
    text = f"{counted(len(found), 'image')} of good parts unlike all others"
    fix = "look whether there is a defect on them: it would be learnt as good"
    kind = WARNING if odd[0][0] > limit + VERY else NOTE
    return [Finding("suspects", kind, product, text, fix, found)]


def least_alike(
    paths: Sequence[Path], *, value_range: str = "", done: Callable[[int], None] = lambda n: None
) -> dict[Path, float]:
    """Score of each image, the larger the less alike; those that cannot be read are left out.

    Copies of a file are no company to each other. `OTHERS` images, drawn by their content, stand
    for the whole folder if it is larger.
    """
    backbone = build_backbone(
        DetectorSettings(
            backbone="filterbank", geometry="full", device="cpu", value_range=value_range
        )
    )
    first: dict[str, Path] = {}
    for path in paths:
        with suppress(ImageError):
            first[content_hash(path)] = path
    drawn: list[tuple[str, np.ndarray]] = []
    for key in sorted(first):
        if len(drawn) < OTHERS and (patches := _patches(backbone, first[key])) is not None:
            drawn.append((key, patches))
    scores = {}
    company = {key: (patches, NearestNeighbours(patches)) for key, patches in drawn}
    for key, path in first.items():
        own = company[key][0] if key in company else _patches(backbone, path)
        others = [search for other, (_, search) in company.items() if other != key]
        if own is not None and others:
            nearest = np.min([search.search(own)[0][:, 0] for search in others], axis=0)
            scores[path] = float(np.sort(nearest)[-TOP:].mean())
        done(1)
    return scores


def _patches(backbone: Backbone, path: Path) -> np.ndarray | None:
    """Patches ``[P, D]`` of an image file, None if it cannot be read."""
    try:
        features = backbone.extract_prepared([backbone.read(path)])
    except ImageError:
        return None
    return features.reshape(-1, features.shape[-1])
