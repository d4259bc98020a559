"""One candidate tried: out-of-fold scores of good pictures, of the same with defects, and costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.memory import exact_memory
from fedpatchcore.detection.fitting import bank_rows, bank_scorer
from fedpatchcore.detection.folds import fold_numbers, scored
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.cost import cost_of, sizes_of
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.timing.peaks import peak
from fedpatchcore.tuning.free import free_memory
from fedpatchcore.tuning.pictures import planted_features
from fedpatchcore.tuning.plan import FEWEST, Plan

__all__ = ["Scores", "Trial", "try_out"]

TIMED = 3  # pictures
FEATURES = 2.2  # times their bytes: all, and the patches of all folds but one


@dataclass(frozen=True)
class Scores:
    """Of one product.

    Attributes:
        good: of each picture by a bank without it, ``[n]``.
        planted: of each defect, ``[m]``; ``owner``: the number of its picture; ``task``: of the
            plan's tasks.
        groups: number of the group of each picture, ``[n]``.
    """

    good: tuple[float, ...]
    planted: tuple[float, ...]
    owner: tuple[int, ...]
    task: tuple[int, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """What came of a candidate on so many pictures.

    Attributes:
        products: scores by product.
        images: pictures of the product that has most.
        seconds: from file to score, one picture at a time, on this machine.
        memory: bytes that the process took at most.
        spent: seconds that the trial took.
    """

    products: Mapping[str, Scores]
    images: int
    seconds: float
    memory: int
    spent: float

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def of(self, product: str) -> Trial:
        """Of one product alone."""
        return replace(self, products={product: self.products[product]})

    @classmethod
    def from_told(cls, told: Mapping[str, Any]) -> Trial:
        """Inverse of `told`. Raises KeyError or TypeError."""
        products = {
            name: Scores(**{key: tuple(values) for key, values in one.items()})
            for name, one in told["products"].items()
        }
        return cls(**{**told, "products": products})


def try_out(
    config: RunConfig,
    plans: Sequence[Plan],
    *,
    cache: SiteCache | None = None,
    memory: float = 0.0,
    backbone: Backbone | None = None,
    keep: bool = True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Trial:
    """Try settings on the pictures of a plan of each product.

    Args:
        memory: bytes that it may take; 0: what the machine has free.
        keep: features with defects in the cache too: a larger plan takes them again.
        progress: pictures done, and how many there are.

    Raises:
        ConfigError, WeightsError: the settings cannot be used here, or take more memory.
        DataError: too few pictures can be read, or no defect can be planted.
    """
    started = time.monotonic()
    backbone = backbone or build_backbone(config)
    extractor = Extractor(
        backbone,
        batch_size=config.batch_size,
        workers=config.workers,
        max_bad_images=config.max_bad_images,
        cache=cache,
    )
    total, done, products, seconds = sum(len(plan.paths) for plan in plans), 0, {}, []
    with peak() as most:
        for plan in plans:
            _check_memory(config, backbone, plan, memory)
            found, took = _product(
                config,
                extractor,
                plan,
                keep,
                lambda n, done=done: progress(done + n, total),
            )
            products[plan.product] = found
            seconds.append(took)
            done += len(plan.paths)
    return Trial(
        products,
        max(len(one.good) for one in products.values()),
        max(seconds),
        most.rss,
        time.monotonic() - started,
    )


def _check_memory(config: RunConfig, backbone: Backbone, plan: Plan, memory: float) -> None:
    """Raise ConfigError where patches and their selection take more than there is."""
    count = len(plan.paths)
    cost = cost_of(backbone, sizes_of(plan.paths), count, batch_size=config.batch_size)
    if cost is None:
        return  # none can be read, which is said where that is tried
    patches, dimension = cost.patches, cost.dimension
    size = config.coreset_size or round(config.coreset_ratio * patches)
    size = max(1, min(size, config.global_bank_size, patches))
    needed = (FEATURES - 1) * cost.features + exact_memory(patches, size, dimension)
    most = memory or free_memory()
    if most and needed > most:
        raise ConfigError(
            f"patches of {count} images take {needed / 1e9:.1f} GB, there are "
            f"{most / 1e9:.1f}: try fewer images or a smaller image-size"
        )


def _product(
    config: RunConfig,
    extractor: Extractor,
    plan: Plan,
    keep: bool,
    progress: Callable[[int], None],
) -> tuple[Scores, float]:
    features, kept, _ = extractor.all(plan.paths)
    if len(kept) < FEWEST:
        raise DataError(f"{len(kept)} readable images of '{plan.product}' are too few")
    keys, groups = ([given[at] for at in kept] for given in (plan.keys, plan.groups))
    numbers = fold_numbers(keys, config.folds, seed=config.seed, groups=groups)
    if not numbers.any():
        raise DataError(f"all images of '{plan.product}' belong together: none can be left out")
    backbone, cache = extractor.backbone, extractor.cache
    good, planted, owner, which, done = np.empty(len(kept)), [], [], [], 0
    for fold in np.unique(numbers).tolist():
        others, mine = np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)
        patches = features.some(others.tolist()).rows
        scorer = bank_scorer(bank_rows(patches, backbone, config)[0], backbone, config)
        del patches
        good[mine] = scored(scorer, features.some(mine.tolist())).images
        for at in mine.tolist():
            image = kept[at]
            own = {n: task for n, task in enumerate(plan.tasks) if task.image == image}
            for number, one in planted_features(
                backbone, plan.paths[image], plan.keys[image], own, cache if keep else None
            ):
                planted.append(float(scorer(one[None]).images[0]))
                owner.append(at)
                which.append(number)
            done += 1
            progress(done)
    if not planted:
        raise DataError(f"no defect can be planted into the images of '{plan.product}'")
    seconds = _timed(backbone, plan, scorer)
    labels = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    told = (planted, owner, which, (labels[group] for group in groups))
    return Scores(tuple(map(float, good)), *map(tuple, told)), seconds


def _timed(backbone: Backbone, plan: Plan, scorer: Callable[[np.ndarray], Any]) -> float:
    """Seconds from file to score, the median of a few pictures after one that warms up."""
    found = []
    for path in plan.paths[: TIMED + 1]:
        started = time.perf_counter()
        scorer(backbone.extract_prepared([backbone.read(path)]))
        found.append(time.perf_counter() - started)
    return median(found[1:] or found)
