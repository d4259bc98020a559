"""Defects planted into a site's good pictures, and which of them its threshold finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.data.content import by_content
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.metrics.planted_found import PlantedFound
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.planted.grid import tasks
from fedpatchcore.timing.phases import phase
from fedpatchcore.tuning.pictures import planted_features
from fedpatchcore.wire.messages import ProductResult

if TYPE_CHECKING:
    from fedpatchcore.detection.scoring import Scorer
    from fedpatchcore.site.site import Site

__all__ = ["TRIALS", "good_pictures", "plant_into", "real_sizes", "with_planted"]

TRIALS = 300  # 60 a kind, as many as MIL-HDBK-1823A asks for
MOST_EACH = 20  # defects a picture; copies of one picture are no independent trials
FEWEST = 5  # good pictures that the bank does not know; with fewer those it learnt from are taken

Scoring = Callable[[np.ndarray], np.ndarray]


def good_pictures(product: Product, held: Sequence[Path] = ()) -> tuple[list[Path], bool]:
    """Pictures of good parts that the bank did not learn from, or, of too few, those it did.

    Args:
        held: training images that were set aside.

    Returns:
        Pictures, and whether the bank learnt from them.
    """
    unknown = [test.path for test in product.test if not test.anomalous] + list(held)
    if len(unknown) >= FEWEST or len(unknown) >= len(product.train):
        return unknown, False
    return list(product.train), True


def plant_into(
    backbone: Backbone,
    pictures: Sequence[Path],
    score: Scoring,
    threshold: float,
    *,
    learnt: bool,
    trials: int = TRIALS,
    seed: int = 0,
    cache: SiteCache | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> PlantedFound:
    """Plant about so many defects, score every picture with one, and count.

    A defect that a picture leaves clearly less contrast than asked for is no trial. The same for
    the same seed and contents.

    Args:
        score: features float32 ``[1, h, w, D]`` → image scores ``[1]``.
        progress: pictures done, and how many there are.

    Raises:
        DataError: no picture that can be read, or a threshold that is none.
    """
    if not math.isfinite(threshold):
        raise DataError("there is no threshold: nothing can be found or missed")
    by_key = by_content(pictures)
    if not by_key:
        raise DataError("there is no picture of a good part to plant defects into")
    if backbone.geometry.tiled:
        raise DataError("geometry='tiles': defects are planted into pictures seen at once")
    keys = sorted(by_key)
    order = np.random.default_rng([seed, 5]).permutation(len(keys))[:trials]
    drawn = [keys[at] for at in order]
    each = min(MOST_EACH, max(1, round(trials / len(drawn))))
    own: dict[int, dict[int, object]] = {}
    planned = tasks(len(drawn), each, seed=seed)
    for number, task in enumerate(planned):
        own.setdefault(task.image, {})[number] = task
    cells: dict[tuple[str, float, float], Rate] = {}
    stopped, seen = 0, 0
    for at, key in enumerate(drawn):
        path = by_key[key]
        try:
            plain = backbone.extract_prepared([backbone.read(path)])
        except ImageError:
            continue
        seen += 1
        stopped += bool(score(plain)[0] > threshold)
        for number, features in planted_features(backbone, path, key, own.get(at, {}), cache):
            task = planned[number]
            hit = bool(score(features[None])[0] > threshold)
            cell = task.kind, task.size, task.contrast
            cells[cell] = cells.get(cell, Rate(0, 0)) + Rate(int(hit), 1)
        progress(at + 1, len(drawn))
    if not cells:
        raise DataError("no defect could be planted: the pictures leave no contrast")
    return PlantedFound(dict(sorted(cells.items())), seen, Rate(stopped, seen), learnt)


def with_planted(
    site: Site, product: Product, section: str, result: ProductResult, scorer: Scorer
) -> ProductResult:
    """The result with the counts of ``planted-trials`` defects, where it has a threshold."""
    trials = site.config.planted_trials
    if not trials or not math.isfinite(result.threshold):
        return result
    mine = set(product.train)
    held = [path for path in site.training_images(section).held_out if path in mine]
    pictures, learnt = good_pictures(product, held)
    try:
        with phase("plant") as facts:
            found = plant_into(
                site.backbone,
                pictures,
                lambda features: scorer(features).images,
                result.threshold,
                learnt=learnt,
                trials=trials,
                seed=site.config.seed,
                cache=site.cache,
            )
            facts["images"] = found.found.of
    except DataError as error:
        site.say(f"{product.name}: nothing planted: {error}")
        return result
    site.say_own(
        f"{product.name}: planted defects found {found.found} in {found.pictures} pictures"
    )
    counts = found.counts(CELLS)
    return replace(
        result,
        planted_found=counts[0],
        planted_of=counts[1],
        planted_pictures=found.pictures,
        planted_stopped=found.stopped.count,
        planted_learnt=int(learnt),
    )


def real_sizes(
    tests: Sequence[TestImage], scores: np.ndarray, threshold: float, backbone: Backbone
) -> tuple[list[float], list[bool]]:
    """Real defects with a mask: their extent as a share of the shorter side, and which are found.

    Of several marks in a picture it is the largest.
    """
    from scipy.ndimage import find_objects, label

    from fedpatchcore.data.images import union_mask

    sizes, found = [], []
    for test, score in zip(tests, scores.tolist(), strict=True):
        if not test.masks:
            continue
        width, height = backbone.open(test.path).size
        marks, _ = label(union_mask(test.masks, (width, height)))
        extents = [max(s.stop - s.start for s in box) for box in find_objects(marks)]
        if extents:
            sizes.append(max(extents) / min(width, height))
            found.append(score > threshold)
    return sizes, found
