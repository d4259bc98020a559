"""FedDyMem at a site (Chen et al., arXiv 2502.21012): a reduced memory, and the generator's update.

In each round the site trains its generator against the global memory and its own coreset, reduces
its patches to ``coreset-size`` weighted averages as the generator sees them, and sends these; with
``generators = averaged`` also what it learnt, with ``own`` that stays here. All rows are in
backbone space, where every site's generator can read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.learned.generator import WEIGHT, GeneratorObjective
from fedpatchcore.learned.memory import reduce_memory
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.site.methods.generating import gathered, memory_of, model_of, objective_of
from fedpatchcore.site.methods.gradients import trained
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import coreset_size, own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["WEIGHTS", "FedDyMem", "half"]

WEIGHTS = "weights"  # float32 [M, 1]: patches that each row stands for


class FedDyMem:
    """Averages of patches; each round's take the place of the last one's."""

    adds = False

    def part(
        self, site: Site, section: str, asked: Asked, clock: Stopwatch
    ) -> tuple[Part | None, SectionStats]:
        """The reduced memory and its weights, with the generator's update where it travels."""
        images, config = site.training_images(section), site.config
        with gathered(site, section, clock) as came:
            own = own_coreset(images, site.extractor, config, clock)
        features, held, tally = came.features, came.held, came.tally
        site.keep_own(section, own.rows)
        patches = features.reshape(-1, features.shape[-1])
        memory = memory_of(section, asked, own)
        with clock.selecting() as facts:
            x = self._start(site, section, asked, patches.shape[1])
            width = x[WEIGHT].shape[1]
            objective = objective_of(config, features, memory, held, width)
            y, update = trained(site, section, objective, x, asked)
            if config.generators == "own":
                _keep(site, section, asked.run, y)
                update = {}
            size = min(coreset_size(config, len(patches)), len(patches))
            metric = GeneratorObjective.metric(y)
            device = str(site.backbone.device)
            found = reduce_memory(
                patches,
                size,
                seed=config.seed,
                temperature=config.reduce_temperature,
                metric=metric,
                device=device,
            )
            nearest = NearestNeighbours(found.rows, device=site.backbone.device)
            radius = float(nearest.search(patches, 1)[0].max())
            facts.update(images=tally.good, patches=len(patches), rows=len(found))
        site.represented.remember(section, images.keys, replace_all=True)
        beside = {WEIGHTS: found.weights.astype(np.float32)[:, None], **update}
        part = Part(found.rows, tally.good, len(patches), radius, beside)
        return part, SectionStats(
            section,
            tally.good,
            len(images.keys),
            len(images.held_out),
            len(tally.bad),
            tally.extracted,
            tally.cached,
            len(patches),
            len(found),
            radius,
        )

    def _start(self, site: Site, section: str, asked: Asked, dimension: int) -> Arrays:
        begun = asked.bank is not None  # else what is kept is of another run
        keeps = site.config.generators == "own" and begun
        own = _kept(site, section, asked.run) if keeps else None
        return model_of(site.config, section, asked, dimension) if own is None else own

    def judged(self, site: Site, bank: MemoryBank, run: str) -> MemoryBank:
        """The bank, seen through this site's own generator where each has one."""
        if site.config.generators != "own":
            return bank
        sections = dict(bank.sections)
        for name, part in bank.sections.items():
            if (own := _kept(site, name, run)) is not None:
                sections[name] = replace(part, metric=GeneratorObjective.metric(own))
        return replace(bank, sections=sections)


def half() -> FedDyMem:
    """The half at a site."""
    return FedDyMem()


def _key(site: Site, section: str, run: str) -> str:
    told = ("generator", site.backbone.fingerprint.digest, site.name, section, run)
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _keep(site: Site, section: str, run: str, own: Arrays) -> None:
    """For the next rounds of the run; without a cache training starts from the seed's again."""
    kept = site.cache is not None and site.cache.put(_key(site, section, run), own, {})
    if not kept:
        site.say(f"{section}: the generator cannot be kept here: the next round starts anew")


def _kept(site: Site, section: str, run: str) -> Arrays | None:
    entry = site.cache.get(_key(site, section, run)) if site.cache is not None else None
    return {WEIGHT: entry[1][WEIGHT]} if entry and WEIGHT in entry[1] else None
