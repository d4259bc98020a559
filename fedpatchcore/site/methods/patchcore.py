"""PatchCore at a site: the coreset of its patches, and later what the bank lacks of new images.

Round 1 (or no bank yet): every section ships the greedy coreset of its training patches.

Later rounds: the site gets the bank and ships only what the bank does not cover. Images
already represented are covered by the triangle inequality (within the site's own radius plus
the bank's) as long as the bank says that it contains all of them. Patches of *new* images
farther from every bank row than the bank ``covers`` are uncovered; greedy k-center over
these, counting the bank's rows as already chosen, ships as many as it takes to cover them
within that distance (at most these images' share of the coreset size); of nothing, a few bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.site.delta import known_rows, select_delta
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["PatchCore", "half"]


class PatchCore:
    """Coresets; the bank as it comes is what the site judges by."""

    adds = True

    def part(
        self, site: Site, section: str, asked: Asked, clock: Stopwatch
    ) -> tuple[Part | None, SectionStats]:
        """The section's coreset, or what the bank lacks of it."""
        if asked.bank is not None and section in asked.bank.sections:
            return _delta(site, section, known_rows(asked.bank, section, site.name), clock)
        return _full(site, section, clock)

    def judged(self, site: Site, bank: MemoryBank, run: str) -> MemoryBank:
        """The bank."""
        return bank


def half() -> PatchCore:
    """The half at a site."""
    return PatchCore()


def _full(site: Site, section: str, clock: Stopwatch) -> tuple[Part, SectionStats]:
    images = site.training_images(section)
    own = own_coreset(images, site.extractor, site.config, clock)
    if site.config.compare_local and len(own.rows) < own.wanted:
        site.say(
            f"{section}: the site's bank alone is kept at {len(own.rows):,} of {own.wanted:,} "
            f"rows to stay within memory-budget"
        )
    site.keep_own(section, own.rows)
    site.represented.remember(section, images.keys, replace_all=True)
    part = Part(own.rows[: own.shipped], own.images, own.patches, own.radius)
    return part, SectionStats(
        section,
        own.images,
        len(images.keys),
        len(images.held_out),
        own.bad,
        own.extracted,
        own.cached,
        own.patches,
        own.shipped,
        own.radius,
        own.factor,
        uncovered=own.patches,
    )


def _delta(
    site: Site, section: str, bank: Section, clock: Stopwatch
) -> tuple[Part | None, SectionStats]:
    images = site.training_images(section)
    represented = site.represented.recall(section)
    if bank.images.get(site.name, 0) < len(represented):
        represented = set()  # the bank lacks something of ours: look at everything again
    new = [p for p, k in zip(images.used, images.keys, strict=True) if k not in represented]
    if not new:
        return None, SectionStats(
            section, 0, len(represented), len(images.held_out), cached=len(images.used)
        )
    share = len(new) / len(images.used)
    found = select_delta(bank, new, share, site.extractor, site.config, clock)
    total = site.represented.remember(section, images.keys, replace_all=False)
    return found.part, SectionStats(
        section,
        found.tally.good,
        total,
        len(images.held_out),
        len(found.tally.bad),
        found.tally.extracted,
        found.tally.cached,
        found.patches,
        0 if found.part is None else len(found.part.features),
        found.radius,
        found.factor,
        uncovered=found.uncovered,
    )
