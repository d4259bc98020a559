"""The generator alone at the server: PatchCore's bank, with a metric that the sites learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.server.merging import merge_section
from fedpatchcore.server.methods.generating import Generators
from fedpatchcore.server.methods.gradients import MakeRule, without_updates
from fedpatchcore.server.methods.registry import Givers
from fedpatchcore.wire.messages import TrainReply

__all__ = ["Generator", "half"]


class Generator:
    """Rows by the aggregation in force; a metric by the optimiser in force."""

    def __init__(self, config: RunConfig, device: str, rules: MakeRule | None) -> None:
        self.config, self.device = config, device
        self._generators = Generators(config, rules)

    @property
    def enough(self) -> str:
        """See `Models.enough`."""
        return self._generators.enough

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """Rows; updates are taken apart from them."""
        self._generators.take(reply, bank)
        return without_updates(reply.contribution)

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """PatchCore's section, seen through the generator."""
        section, facts = merge_section(
            parts, givers.sites, givers.images, self.config, device=self.device
        )
        metric, learnt = self._generators.step(name, givers, section.features.shape[1])
        return replace(section, metric=metric), {**facts, **learnt}

    def beside(self) -> Mapping[str, np.ndarray]:
        """What the optimiser sends beside the generator."""
        return self._generators.beside()

    def save(self, folder: Path) -> None:
        """The optimiser's state."""
        self._generators.save(folder)

    def load(self, folder: Path) -> None:
        """Go on from `save`."""
        self._generators.load(folder)


def half(config: RunConfig, *, device: str, rules: MakeRule | None = None) -> Generator:
    """The half at the server."""
    return Generator(config, device, rules)
