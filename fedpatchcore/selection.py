"""A site's own coreset: selected once, kept in the site's cache.

One greedy selection serves two ends, since any prefix of it is the coreset of that size: the
first rows are shipped, and all of them are the bank the site would have if it were alone.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset import greedy_k_center, random_coreset
from fedpatchcore.extraction import Extractor
from fedpatchcore.observe.phases import Facts, phase
from fedpatchcore.robustness.density import dense_rows

__all__ = ["Clock", "OwnCoreset", "TrainingImages", "coreset_size", "dense", "own_coreset"]


@dataclass(frozen=True)
class TrainingImages:
    """Training images of one section, split into those that teach and those held out."""

    used: tuple[Path, ...]
    held_out: tuple[Path, ...]
    keys: tuple[str, ...]  # content hashes of ``used``


@dataclass(frozen=True)
class OwnCoreset:
    """A section's own coreset.

    Attributes:
        rows: float32 ``[k, D]`` in order of selection; ``rows[:shipped]`` leaves the site.
        radius: covering radius of the shipped rows over ``patches`` patches.
    """

    rows: np.ndarray
    shipped: int
    radius: float
    images: int
    patches: int
    bad: int
    extracted: int = 0
    cached: int = 0


@dataclass
class Clock:
    """Wall seconds spent extracting and selecting."""

    extract: float = 0.0
    select: float = 0.0

    @contextmanager
    def extracting(self) -> Iterator[Facts]:
        """Count a block as the phase "extract"; the table takes its counts."""
        started = time.perf_counter()
        with phase("extract") as facts:
            yield facts
        self.extract += time.perf_counter() - started

    @contextmanager
    def selecting(self) -> Iterator[Facts]:
        """Count a block as the phase "select"; the table takes its counts."""
        started = time.perf_counter()
        with phase("select") as facts:
            yield facts
        self.select += time.perf_counter() - started


def coreset_size(config: RunConfig, patches: int, share: float = 1.0) -> int:
    """Rows to ship for so many patches, which are this share of the site's images."""
    if config.coreset_size:
        return math.ceil(share * config.coreset_size)
    return max(1, round(config.coreset_ratio * patches))


def dense(patches: np.ndarray, config: RunConfig) -> np.ndarray:
    """The patches without the loneliest ``density-filter`` of them, which k-center takes first."""
    if not config.density_filter:
        return patches
    return patches[dense_rows(patches, config.density_filter, seed=config.seed)]


def own_coreset(
    images: TrainingImages, extractor: Extractor, config: RunConfig, clock: Clock
) -> OwnCoreset:
    """Extract and select, or take it from the cache if nothing about it changed."""
    keep = config.global_bank_size if config.compare_local else 0
    cache, fingerprint = extractor.cache, extractor.backbone.fingerprint
    recipe = (
        fingerprint.digest,
        images.keys,
        config.coreset,
        config.coreset_size,
        config.coreset_ratio,
        config.seed,
        keep,
        config.max_bad_images,
        config.density_filter,
    )
    key = hashlib.sha256(repr(recipe).encode()).hexdigest()
    if cache and (entry := cache.get(key)) is not None:
        header, arrays = entry
        return OwnCoreset(arrays["rows"], **header, cached=len(images.used))
    with clock.extracting() as facts:
        features, _, tally = extractor.all(images.used)
        facts.update(images=tally.good, bytes=features.nbytes)
    patches = features.reshape(-1, features.shape[-1])
    with clock.selecting() as facts:
        patches = dense(patches, config)
        ship = min(coreset_size(config, len(patches)), len(patches))
        device = str(extractor.backbone.device)
        rows, radius = _select(patches, ship, max(ship, keep), config, device)
        facts.update(images=tally.good, patches=len(patches), rows=len(rows), bytes=rows.nbytes)
    facts = {
        "shipped": min(ship, len(rows)),
        "radius": radius,
        "images": tally.good,
        "patches": len(patches),
        "bad": len(tally.bad),
    }
    if cache:
        cache.put(key, {"rows": rows}, facts)
    return OwnCoreset(rows, **facts, extracted=tally.extracted, cached=tally.cached)


def _select(
    patches: np.ndarray, ship: int, keep: int, config: RunConfig, device: str
) -> tuple[np.ndarray, float]:
    """``keep`` rows in order of selection, and the radius of the first ``ship``."""
    if config.coreset == "random":
        chosen = random_coreset(patches, keep, seed=config.seed, device=device)
        first = random_coreset(patches, ship, seed=config.seed, device=device)  # same first rows
        return patches[chosen.indices], first.radius
    chosen = greedy_k_center(patches, keep, seed=config.seed, device=device)
    return patches[chosen.indices], float(chosen.radii[min(ship, len(chosen.radii)) - 1])
