"""The generators of a run at the server: the metric of each section, moved by the optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.learned.generator import WEIGHT, GeneratorObjective
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.server.methods.gradients import Models
from fedpatchcore.server.methods.registry import Givers
from fedpatchcore.site.methods.generating import model_of
from fedpatchcore.site.methods.gradients import version_of
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.wire.messages import TrainReply

__all__ = ["Generators"]


class Generators(Models):
    """Models that are a bank's metrics.

    A metric is kept at the length of its start (`learned.generator.scaled`): what an optimiser
    makes of it is brought back there, since distances are measured by its directions alone.
    """

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> None:
        """The updates of all sections of a reply. Raises CoresetError."""
        given, asked = reply.contribution, Asked(bank)
        images = {s.section: s.images + s.represented + s.held_out for s in reply.stats}
        for name, part in given.parts.items():
            x = model_of(self.config, name, asked, given.fingerprint.dimension)
            self.taken(reply.site, name, part, x, version_of(bank), images=images.get(name, 0))

    def step(self, name: str, givers: Givers, dimension: int) -> tuple[np.ndarray, dict[str, Any]]:
        """The metric of the coming bank's section, float32 ``[D, d]``, and facts for the record."""
        x = model_of(self.config, name, Asked(givers.bank), dimension)
        found, facts = self.stepped(name, x, version_of(givers.bank), givers.present)
        return _measured(found), facts


def _measured(model: Arrays) -> np.ndarray:
    return GeneratorObjective.metric({WEIGHT: model[WEIGHT]})
