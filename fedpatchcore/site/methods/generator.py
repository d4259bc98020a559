"""The generator alone at a site: rows as PatchCore's, and a metric that all learn together.

The first answer, and every later one that finds new images, brings rows as `patchcore` does; each
brings an update of the generator, trained against the bank's rows and the site's own coreset.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.learned.generator import WEIGHT
from fedpatchcore.site.methods.generating import gathered, memory_of, model_of, objective_of
from fedpatchcore.site.methods.gradients import trained
from fedpatchcore.site.methods.patchcore import PatchCore
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Generator", "half"]


class Generator:
    """Coresets once, then the parameters of a metric."""

    adds = True

    def __init__(self) -> None:
        self._rows = PatchCore()

    def part(
        self, site: Site, section: str, asked: Asked, clock: Stopwatch
    ) -> tuple[Part | None, SectionStats]:
        """What PatchCore gives, and the generator's update."""
        with gathered(site, section, clock) as found:
            rows, stats = self._rows.part(site, section, asked, clock)
            own = own_coreset(site.training_images(section), site.extractor, site.config, clock)
        features, tally = found.features, found.tally
        memory = memory_of(section, asked, own)
        with clock.selecting() as facts:
            x = model_of(site.config, section, asked, features.shape[-1])
            width = x[WEIGHT].shape[1]
            objective = objective_of(site.config, features, memory, found.held, width)
            _, update = trained(site, section, objective, x, asked)
            facts.update(images=tally.good, patches=features.shape[0] * features.shape[1])
        if rows is None:
            rows = Part(np.empty((0, features.shape[-1]), np.float32), 0, 0, 0.0)
        stats = replace(stats, extracted=tally.extracted, cached=tally.cached)
        return replace(rows, beside=update), stats

    def judged(self, site: Site, bank: MemoryBank, run: str) -> MemoryBank:
        """The bank."""
        return bank


def half() -> Generator:
    """The half at a site."""
    return Generator()
