"""What methods with a generator share at a site: patches, the objective, the model that came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from fedpatchcore.features.extraction import Tally
from fedpatchcore.learned.generator import WEIGHT, GeneratorObjective, MetricLoss, orthogonal
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import OwnCoreset
from fedpatchcore.site.stopwatch import Stopwatch

if TYPE_CHECKING:
    from fedpatchcore.config import RunConfig
    from fedpatchcore.site.site import Site

__all__ = ["Gathered", "Watched", "gathered", "memory_of", "model_of", "objective_of"]


@dataclass(frozen=True)
class Gathered:
    """Patches of a section's images.

    Attributes:
        features: ``[n, P, D]`` of those that are trained on.
        held: the same of those held out; None if training does not watch them.
    """

    features: np.ndarray
    held: np.ndarray | None
    tally: Tally


@contextmanager
def gathered(site: Site, section: str, clock: Stopwatch) -> Iterator[Gathered]:
    """The section's patches; while it lasts no image is looked at a second time."""
    images = site.training_images(section)
    with clock.extracting() as facts:
        features, good, tally = site.extractor.all(images.used)
        facts.update(images=tally.good, bytes=features.nbytes)
        held = _held(site, images.held_out) if site.config.early_stop else None
    with site.extractor.holding(images.used, features, good, tally):
        yield Gathered(features.reshape(len(features), -1, features.shape[-1]), held, tally)


def _held(site: Site, paths: tuple[Path, ...]) -> np.ndarray | None:
    features = site.extractor.all(paths)[0] if paths else np.empty(0)
    return features.reshape(len(features), -1, features.shape[-1]) if len(features) else None


def model_of(config: RunConfig, section: str, asked: Asked, dimension: int) -> Arrays:
    """The generator that training starts from: the bank's, or the seed's where it has none."""
    part = asked.bank.sections.get(section) if asked.bank is not None else None
    if part is not None and part.metric is not None:
        return {WEIGHT: part.metric}
    width = config.generator_width or max(1, dimension // 2)
    return {WEIGHT: orthogonal(dimension, min(width, dimension), config.seed)}


def memory_of(section: str, asked: Asked, own: OwnCoreset) -> np.ndarray:
    """What patches are pulled to, ``[M, D]``: the bank's rows and those that the site ships."""
    came = asked.bank.sections.get(section) if asked.bank is not None else None
    known = [came.features] if came is not None else []
    return np.concatenate([*known, own.rows[: own.shipped]])


def objective_of(
    config: RunConfig, patches: np.ndarray, memory: np.ndarray, held: np.ndarray | None, width: int
) -> GeneratorObjective:
    """The metric loss of ``patches [n, P, D]``, an image each, against ``memory [M, D]``."""
    loss = MetricLoss(config.generator_neighbours, config.generator_margin, config.generator_push)
    how = {"width": width, "loss": loss, "quantile": config.generator_radius}
    if held is None:
        return GeneratorObjective(patches, memory, **how)
    return Watched(patches, memory, held, **how)


class Watched(GeneratorObjective):
    """An objective that tells its loss over images which nobody trains on, ``held [m, P, D]``."""

    def __init__(
        self, features: np.ndarray, memory: np.ndarray, held: np.ndarray, **how: object
    ) -> None:
        super().__init__(features, memory, **how)
        self._held = GeneratorObjective(held, memory, **how)
        self._held.radius = self.radius

    def held_out_loss(self, parameters: Mapping[str, Tensor]) -> float:
        """The mean loss over the held-out images."""
        import torch

        losses = [
            float(self._held.loss(parameters, torch.tensor([at])))
            for at in range(self._held.examples)
        ]
        return float(np.mean(losses))
