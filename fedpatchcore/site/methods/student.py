"""A student at a site: it learns to tell deep features from shallow ones, and its update travels.

Of patches nothing leaves but their mean, one row a section.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.detection.student import unflattened
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.maps import FeatureMaps
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.student import StudentObjective, student_start
from fedpatchcore.site.methods.gradients import trained
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.spelling import mended, typed
from fedpatchcore.wire.messages import SectionStats

if TYPE_CHECKING:
    from fedpatchcore.config import RunConfig
    from fedpatchcore.site.site import Site

__all__ = ["Student", "channels_read", "half", "student_of"]

LAYERS = 3  # a third of a patch's channels are the first of two layers that double


def channels_read(config: RunConfig, dimension: int) -> int:
    """Channels of a patch that the student reads; the same at every site and at the server."""
    return config.student_reads or max(1, dimension // LAYERS)


def student_of(config: RunConfig, section: str, bank: MemoryBank | None, dimension: int) -> Arrays:
    """The student that training starts from: the bank's, or the seed's where it has none."""
    part = bank.sections.get(section) if bank is not None else None
    if part is not None and part.student is not None:
        return unflattened(part.student, dimension)
    reads = channels_read(config, dimension)
    return student_start(reads, dimension, width=config.student_width, seed=config.seed)


class Student:
    """Parameters alone."""

    adds = False

    def part(
        self, site: Site, section: str, asked: Asked, clock: Stopwatch
    ) -> tuple[Part | None, SectionStats]:
        """The mean of the section's patches, and the student's update."""
        images, config = site.training_images(section), site.config
        _check_layers(site)
        with clock.extracting() as facts:
            features, _, tally = site.extractor.all(images.used)
            watched = images.held_out if config.early_stop else ()
            held = site.extractor.all(watched)[0] if watched else None
            facts.update(images=tally.good, bytes=features.nbytes)
        patches = features.rows
        with clock.selecting() as facts:
            reads = channels_read(config, patches.shape[1])
            x = student_of(config, section, asked.bank, patches.shape[1])
            objective = StudentObjective(features, reads, width=config.student_width, held_out=held)
            _, update = trained(site, section, objective, x, asked)
            mean = patches.mean(0, dtype=np.float64).astype(np.float32)[None]
            radius = float(np.linalg.norm(patches - mean, axis=1).max())
            facts.update(images=tally.good, patches=len(patches), rows=1)
        site.represented.remember(section, images.keys, replace_all=True)
        return Part(mean, tally.good, len(patches), radius, update), SectionStats(
            section,
            tally.good,
            len(images.keys),
            len(images.held_out),
            len(tally.bad),
            tally.extracted,
            tally.cached,
            len(patches),
            1,
            radius,
        )

    def model(self, site: Site, section: str, asked: Asked) -> Arrays:
        """The student as it came."""
        _check_layers(site)
        return student_of(site.config, section, asked.bank, site.backbone.dimension)

    def objective(
        self, site: Site, section: str, asked: Asked, features: FeatureMaps
    ) -> StudentObjective:
        """The student's loss, which is each image's own."""
        reads = channels_read(site.config, features.rows.shape[-1])
        return StudentObjective(features, reads, width=site.config.student_width)

    def judged(self, site: Site, bank: MemoryBank, run: str) -> MemoryBank:
        """The bank."""
        return bank


def half() -> Student:
    """The half at a site."""
    return Student()


def _check_layers(site: Site) -> None:
    """Raise ConfigError where the channels read are not those of whole layers."""
    widths, dimension = site.backbone.widths, site.backbone.dimension
    if len(widths) < 2:
        raise ConfigError(
            "method='student' tells deep layers from a shallow one and needs two: choose a "
            f"backbone and layers; '{site.config.backbone}' gives one"
        )
    reads = channels_read(site.config, dimension)
    if reads not in np.cumsum(widths[:-1]):
        raise ConfigError(
            mended(
                f"the student would read {reads} channels, the layers here have "
                f"{', '.join(map(str, widths))}",
                typed("student-reads", str(widths[0])),
            )
        )
