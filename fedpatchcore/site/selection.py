"""A site's own coreset: selected once, kept in the site's cache.

One greedy selection serves two ends, since any prefix of it is the coreset of that size: the
first rows are shipped, and all of them are the bank the site would have if it were alone.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.budgeted import Streamed, affordable, peek
from fedpatchcore.coreset.greedy import greedy_k_center, random_coreset
from fedpatchcore.data.amounts import images_told
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.robustness.density import dense_rows
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats

__all__ = [
    "EXACT_FACTOR",
    "OwnCoreset",
    "TrainingImages",
    "budget_bytes",
    "coreset_size",
    "counted",
    "dense",
    "limited",
    "own_coreset",
    "selected",
]

EXACT_FACTOR = 2.0  # greedy over all patches: Gonzalez, 1985


def budget_bytes(config: RunConfig, extractor: Extractor) -> int:
    """Bytes of the budget, 0 if there is none. Raises ConfigError if nothing could keep it."""
    budget = config.budget_bytes(tiled=extractor.backbone.geometry.tiled)
    if not budget:
        return 0
    for key, used in (
        ("density-filter", config.density_filter > 0),
        ("coreset='random'", config.coreset == "random"),
    ):
        if used:
            raise ConfigError(f"{key} needs all patches at once and takes memory-budget=0 only")
    return budget


@dataclass(frozen=True)
class TrainingImages:
    """Training images of one section, split into those that teach and those held out."""

    used: tuple[Path, ...]
    held_out: tuple[Path, ...]
    keys: tuple[str, ...]  # content hashes of ``used``
    held_keys: tuple[str, ...]  # and of ``held_out``


@dataclass(frozen=True)
class OwnCoreset:
    """A section's own coreset.

    Attributes:
        rows: float32 ``[k, D]`` in order of selection; ``rows[:shipped]`` leaves the site.
        radius: covering radius of the shipped rows over ``patches`` patches.
        factor: see `fedpatchcore.wire.messages.SectionStats`.
        wanted: rows that there would be if memory were no matter.
    """

    rows: np.ndarray
    shipped: int
    radius: float
    images: int
    patches: int
    bad: int
    factor: float = 0.0
    wanted: int = 0
    extracted: int = 0
    cached: int = 0


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
    images: TrainingImages, extractor: Extractor, config: RunConfig, clock: Stopwatch
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
        config.memory_budget,
    )
    key = hashlib.sha256(repr(recipe).encode()).hexdigest()
    if cache and (entry := cache.get(key)) is not None:
        header, arrays = entry
        return OwnCoreset(arrays["rows"], **header, cached=header["images"])
    if budget := budget_bytes(config, extractor):
        own = _within(budget, images, extractor, config, clock, keep)
    else:
        own = _at_once(images, extractor, config, clock, keep)
    if cache:
        told = ("shipped", "radius", "images", "patches", "bad", "factor", "wanted")
        cache.put(key, {"rows": own.rows}, {name: getattr(own, name) for name in told})
    return own


def _at_once(
    images: TrainingImages, extractor: Extractor, config: RunConfig, clock: Stopwatch, keep: int
) -> OwnCoreset:
    """All patches in memory, one selection."""
    with clock.extracting() as facts:
        features, _, tally = extractor.all(images.used)
        facts.update(images=tally.good, bytes=features.nbytes)
    with clock.selecting() as facts:
        patches = dense(features.rows, config)
        ship = min(coreset_size(config, len(patches)), len(patches))
        device = str(extractor.backbone.device)
        rows, radius = _select(patches, ship, max(ship, keep), config, device)
        facts.update(images=tally.good, patches=len(patches), rows=len(rows), bytes=rows.nbytes)
    factor = EXACT_FACTOR if config.coreset == "k-center" else 0.0
    return _own(rows, ship, radius, factor, tally, len(patches))


def selected(
    patches: np.ndarray, config: RunConfig, device: object, *, keep: int = 0
) -> tuple[np.ndarray, int]:
    """The coreset of some patches ``[m, D]`` in order of selection, and how many would be shipped.

    Args:
        keep: rows wanted, if there are more than are shipped.
    """
    patches = dense(patches, config)
    ship = min(coreset_size(config, len(patches)), len(patches))
    rows, _ = _select(patches, ship, max(ship, keep), config, str(device))
    return rows, min(ship, len(rows))


def _within(
    budget: int,
    images: TrainingImages,
    extractor: Extractor,
    config: RunConfig,
    clock: Stopwatch,
    keep: int,
) -> OwnCoreset:
    """Patches selected from as they come, in no more memory than the budget."""
    tally = Tally()
    with clock.extracting() as facts:
        first, pieces = peek(extractor.pieces(images.used, tally))
        dimension = first.features.shape[-1]
        most = first.grid[0] * first.grid[1] * len(images.used)
        size = coreset_size(config, most)
        wanted = max(size, keep)
        size = affordable(size, wanted, most, dimension, budget)
        stream = Streamed(size, budget, config, str(extractor.backbone.device))
        patches = 0
        for one in pieces:
            rows = one.features.reshape(-1, dimension)
            stream.add(rows)
            patches += len(rows)
        facts.update(images=tally.good, bytes=patches * dimension * 4)
    clock.moved(stream.seconds)
    with clock.selecting() as facts:
        chosen = stream.result()
        facts.update(images=tally.good, patches=patches, rows=len(chosen.rows))
    ship = min(coreset_size(config, patches), len(chosen.rows))
    radius = float(chosen.radii[ship - 1])
    factor = EXACT_FACTOR
    if not chosen.exact:  # 0, nothing proved, where fewer rows than are kept tell all apart
        factor = radius / chosen.at_least if chosen.at_least else 0.0
    short = min(wanted, patches) if size < wanted else 0
    return _own(chosen.rows, ship, radius, factor, tally, patches, short)


def _own(
    rows: np.ndarray,
    ship: int,
    radius: float,
    factor: float,
    tally: Tally,
    patches: int,
    wanted: int = 0,
) -> OwnCoreset:
    return OwnCoreset(
        rows,
        min(ship, len(rows)),
        radius,
        tally.good,
        patches,
        len(tally.bad),
        factor,
        wanted,
        tally.extracted,
        tally.cached,
    )


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


def counted(facts: SectionStats) -> str:
    """What a log line says of the images looked at now; of a later round those that are new."""
    known = facts.represented - facts.images  # the bank has them from an earlier round
    told = images_told(facts.images + known, facts.held_out, facts.bad)
    return told + (f", {facts.images:,} of them new" if known else f", {facts.cached:,} cached")


def limited(factor: float) -> str:
    """What a log line says of a selection that memory has limited; nothing of an exact one."""
    if factor <= EXACT_FACTOR:
        return ""
    return (
        f", selected in blocks to stay within memory-budget: covering radius at most "
        f"{factor:.3g} times the least possible"
    )
