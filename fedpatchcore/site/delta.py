"""What a bank lacks of a site's new images: the later rounds of `fedpatchcore.site`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.budgeted import Streamed, peek
from fedpatchcore.coreset.greedy import greedy_k_center, selector
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.features.extraction import Extractor, Tally
from fedpatchcore.site.selection import EXACT_FACTOR, budget_bytes, coreset_size, dense
from fedpatchcore.site.stopwatch import Stopwatch

__all__ = ["Delta", "known_rows", "select_delta"]


@dataclass(frozen=True)
class Delta:
    """Rows to ship, None if the bank covers everything.

    Attributes:
        radius: every new patch lies within this L2 distance of a bank row or one of these.
        factor, uncovered: see `fedpatchcore.wire.messages.SectionStats`.
    """

    part: Part | None
    radius: float
    tally: Tally
    patches: int
    factor: float = 0.0
    uncovered: int = 0


def select_delta(
    bank: Section,
    new: Sequence[Path],
    share: float,
    extractor: Extractor,
    config: RunConfig,
    clock: Stopwatch,
) -> Delta:
    """Rows that bring the patches of ``new`` images within what the bank covers.

    Args:
        bank: an empty section covers nothing: the new images' own coreset is shipped.
        share: of the site's images that these are, in (0, 1].
    """
    work = _Work(bank, new, share, extractor, config, clock)
    budget = budget_bytes(config)
    return work.within(budget) if budget else work.at_once()


class _Work:
    """One section's new images, and what is selected of them."""

    def __init__(
        self,
        bank: Section,
        new: Sequence[Path],
        share: float,
        extractor: Extractor,
        config: RunConfig,
        clock: Stopwatch,
    ) -> None:
        self.bank, self.new, self.share = bank, new, share
        self.extractor, self.config, self.clock = extractor, config, clock
        self.device = str(extractor.backbone.device)
        self.tally = Tally()
        self.patches = self.uncovered = 0
        self.far = 0.0  # of any patch to the bank
        self._nearest: NearestNeighbours | None = None

    def at_once(self) -> Delta:
        """All patches in memory."""
        with self.clock.extracting() as facts:
            features, _, self.tally = self.extractor.all(self.new)
            facts.update(images=self.tally.good, bytes=features.nbytes)
        patches = dense(features.reshape(-1, features.shape[-1]), self.config)
        with self.clock.selecting() as facts:
            facts.update(images=self.tally.good, patches=len(patches))
            return self._chosen(self._uncovered(patches))

    def within(self, budget: int) -> Delta:
        """The same, image by image: what is uncovered is kept, or selected from in blocks.

        In blocks, the bank's rows do not count as chosen already: some rows more than needed may
        be shipped, all that is uncovered is covered.
        """
        kept: list[np.ndarray] = []
        held = 0
        stream: Streamed | None = None
        with self.clock.extracting() as facts:
            (height, width, _), images = peek(self.extractor.stream(self.new, self.tally))
            size = self._size(height * width * len(self.new))
            for one in images:
                rows = self._uncovered(one.reshape(-1, one.shape[-1]))
                kept.append(rows)
                held += rows.nbytes
                if stream is None and held > budget // 2:
                    stream = Streamed(size, budget, self.config, self.device)
                if stream is not None:
                    for some in kept:
                        stream.add(some)
                    kept = []
            facts.update(images=self.tally.good)
        if stream is not None:
            self.clock.moved(stream.seconds)
        with self.clock.selecting() as facts:
            facts.update(images=self.tally.good, patches=self.patches)
            if stream is None:
                return self._chosen(np.concatenate(kept))
            chosen = stream.result()
        radius = max(self.bank.covers if len(self.bank) else 0.0, chosen.radius)
        enough = int(np.searchsorted(-chosen.radii, -radius)) + 1
        factor = 0.0 if len(self.bank) else chosen.factor
        return self._shipped(chosen.rows[:enough], radius, factor)

    def _size(self, patches: int) -> int:
        return coreset_size(self.config, patches, self.share)

    def _uncovered(self, patches: np.ndarray) -> np.ndarray:
        """Those of some more patches that the bank does not cover."""
        self.patches += len(patches)
        if not len(self.bank):
            self.uncovered += len(patches)
            return patches
        if self._nearest is None:
            self._nearest = NearestNeighbours(self.bank.features, device=self.device)
        distances = self._nearest.search(patches)[0][:, 0]
        self.far = max(self.far, float(distances.max()))
        found = patches[distances > self.bank.covers]
        self.uncovered += len(found)
        return found

    def _chosen(self, uncovered: np.ndarray) -> Delta:
        if not len(uncovered):
            return self._shipped(None, self.far)
        size, seed = self._size(self.patches), self.config.seed
        if not len(self.bank):
            chosen = selector(self.config.coreset)(uncovered, size, seed=seed, device=self.device)
            factor = EXACT_FACTOR if self.config.coreset == "k-center" else 0.0
            return self._shipped(uncovered[chosen.indices], chosen.radius, factor)
        chosen = greedy_k_center(
            uncovered,
            size,
            device=self.device,
            centres=self.bank.features,
            stop_radius=self.bank.covers,
        )
        # none chosen: within rounding of being covered
        rows = uncovered[chosen.indices] if len(chosen.indices) else None
        return self._shipped(rows, max(self.bank.covers, chosen.radius))

    def _shipped(self, rows: np.ndarray | None, radius: float, factor: float = 0.0) -> Delta:
        part = None if rows is None else Part(rows, self.tally.good, self.patches, radius)
        return Delta(part, radius, self.tally, self.patches, factor, self.uncovered)


def known_rows(bank: MemoryBank, section: str, site: str) -> Section:
    """The rows that cover this site's patches: its own alone, where sites vote."""
    part = bank.sections[section]
    if bank.scoring.get("votes", 1) < 2:
        return part
    here = bank.sites.index(site) if site in bank.sites else None
    mine = part.origin == here if here is not None else np.zeros(len(part), dtype=bool)
    return replace(part, features=part.features[mine], origin=part.origin[mine])
