"""What a bank lacks of a site's new images: the later rounds of `fedpatchcore.site`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore.bank import Section
from fedpatchcore.budgeted import Streamed, budget_bytes, peek
from fedpatchcore.config import RunConfig
from fedpatchcore.contribution import Part
from fedpatchcore.coreset import greedy_k_center, selector
from fedpatchcore.extraction import Extractor, Tally
from fedpatchcore.search import NearestNeighbours
from fedpatchcore.selection import EXACT_FACTOR, Clock, coreset_size, dense

__all__ = ["Delta", "select_delta"]


@dataclass(frozen=True)
class Delta:
    """Rows to ship, None if the bank covers everything.

    Attributes:
        radius: every new patch lies within this L2 distance of a bank row or one of these.
        factor: see `fedpatchcore.messages.SectionStats`.
    """

    part: Part | None
    radius: float
    tally: Tally
    patches: int
    factor: float = 0.0


def select_delta(
    bank: Section,
    new: Sequence[Path],
    share: float,
    extractor: Extractor,
    config: RunConfig,
    clock: Clock,
) -> Delta:
    """Rows that bring the patches of ``new`` images within what the bank covers.

    Args:
        bank: an empty section covers nothing: the new images' own coreset is shipped.
        share: of the site's images that these are, in (0, 1].
    """
    if budget := budget_bytes(config):
        return _within(budget, bank, new, share, extractor, config, clock)
    with clock.extracting() as facts:
        features, _, tally = extractor.all(new)
        facts.update(images=tally.good, bytes=features.nbytes)
    patches = dense(features.reshape(-1, features.shape[-1]), config)
    with clock.selecting() as facts:
        facts.update(images=tally.good, patches=len(patches))
        found, far = (
            _uncovered(NearestNeighbours(bank.features), bank, patches)
            if len(bank)
            else (patches, 0.0)
        )
        size = coreset_size(config, len(patches), share)
        return _chosen(bank, found, far, size, tally, len(patches), extractor, config)


def _uncovered(
    nearest: NearestNeighbours, bank: Section, patches: np.ndarray
) -> tuple[np.ndarray, float]:
    """The patches that the bank does not cover, and how far the farthest of all is."""
    distances = nearest.search(patches)[0][:, 0]
    return patches[distances > bank.covers], float(distances.max())


def _chosen(
    bank: Section,
    uncovered: np.ndarray,
    far: float,
    size: int,
    tally: Tally,
    patches: int,
    extractor: Extractor,
    config: RunConfig,
) -> Delta:
    if not len(uncovered):
        return Delta(None, far, tally, patches)
    device = str(extractor.backbone.device)
    if not len(bank):
        chosen = selector(config.coreset)(uncovered, size, seed=config.seed, device=device)
        part = Part(uncovered[chosen.indices], tally.good, patches, chosen.radius)
        factor = EXACT_FACTOR if config.coreset == "k-center" else 0.0
        return Delta(part, chosen.radius, tally, patches, factor)
    chosen = greedy_k_center(
        uncovered, size, device=device, centres=bank.features, stop_radius=bank.covers
    )
    radius = max(bank.covers, chosen.radius)
    if not len(chosen.indices):  # within rounding of being covered
        return Delta(None, radius, tally, patches)
    return Delta(
        Part(uncovered[chosen.indices], tally.good, patches, radius), radius, tally, patches
    )


def _within(
    budget: int,
    bank: Section,
    new: Sequence[Path],
    share: float,
    extractor: Extractor,
    config: RunConfig,
    clock: Clock,
) -> Delta:
    """The same, image by image: what is uncovered is kept, or selected from in blocks.

    In blocks, the bank's rows do not count as chosen already: some rows more than needed may
    be shipped, all that is uncovered is covered.
    """
    tally, far, patches = Tally(), 0.0, 0
    kept: list[np.ndarray] = []
    stream: Streamed | None = None
    with clock.extracting() as facts:
        (height, width, _), images = peek(extractor.stream(new, tally))
        size = coreset_size(config, height * width * len(new), share)
        nearest = NearestNeighbours(bank.features) if len(bank) else None
        for one in images:
            rows = one.reshape(-1, one.shape[-1])
            patches += len(rows)
            if nearest is not None:
                rows, here = _uncovered(nearest, bank, rows)
                far = max(far, here)
            kept.append(rows)
            if stream is None and sum(r.nbytes for r in kept) > budget // 2:
                stream = Streamed(size, budget, config, str(extractor.backbone.device))
            if stream is not None:
                for some in kept:
                    stream.add(some)
                kept = []
        facts.update(images=tally.good)
    if stream is not None:
        clock.moved(stream.seconds)
    with clock.selecting() as facts:
        facts.update(images=tally.good, patches=patches)
        if stream is None:
            uncovered = np.concatenate(kept)
            size = coreset_size(config, patches, share)  # unreadable images gave none
            return _chosen(bank, uncovered, far, size, tally, patches, extractor, config)
        chosen = stream.result()
    radius = max(bank.covers if len(bank) else 0.0, chosen.radius)
    enough = int(np.searchsorted(-chosen.radii, -radius)) + 1
    part = Part(chosen.rows[:enough], tally.good, patches, radius)
    return Delta(part, radius, tally, patches, 0.0 if len(bank) else chosen.factor)
