"""The generator alone at the server: PatchCore's bank, with a metric that the sites learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.server.merging import merge_section
from fedpatchcore.server.methods.generating import Generators
from fedpatchcore.server.methods.gradients import MakeRule
from fedpatchcore.server.methods.registry import Givers
from fedpatchcore.server.methods.training import Training, without_updates
from fedpatchcore.wire.messages import TrainReply

__all__ = ["Generator", "half"]


class Generator(Training):
    """Rows by the aggregation in force; a metric by the optimiser in force."""

    def __init__(self, config: RunConfig, device: str, rules: MakeRule | None) -> None:
        super().__init__(Generators(config, rules))
        self.config, self.device = config, device

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """Rows; updates are taken apart from them."""
        self._models.take(reply, bank)
        return without_updates(reply.contribution)

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """PatchCore's section, seen through the generator."""
        section, facts = merge_section(
            parts, givers.sites, givers.images, self.config, device=self.device
        )
        metric, learnt = self._models.step(name, givers, section.features.shape[1])
        return replace(section, metric=metric), {**facts, **learnt}


def half(config: RunConfig, *, device: str, rules: MakeRule | None = None) -> Generator:
    """The half at the server."""
    return Generator(config, device, rules)
