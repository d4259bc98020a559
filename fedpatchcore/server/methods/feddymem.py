"""FedDyMem at the server: one memory of all sites' averages, by K-means over them.

The generators of a round are averaged by the optimiser in force (``generators = averaged``); with
``own`` the server never sees one, and the bank measures plain L2 until a site puts its own before
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import CoresetError
from fedpatchcore.learned.memory import Memory, global_memory
from fedpatchcore.server.methods.generating import Generators
from fedpatchcore.server.methods.gradients import MakeRule
from fedpatchcore.server.methods.registry import Givers
from fedpatchcore.server.methods.training import Training, without_updates
from fedpatchcore.site.methods.feddymem import WEIGHTS
from fedpatchcore.wire.messages import TrainReply

__all__ = ["FedDyMem", "half"]

ROUNDING = 1e-3  # a sum of float32 weights may be off by so much, relatively


class FedDyMem(Training):
    """Reduced memories in, a global one out."""

    def __init__(self, config: RunConfig, device: str, rules: MakeRule | None) -> None:
        super().__init__(Generators(config, rules) if config.generators == "averaged" else None)
        self.config, self.device = config, device

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """Averages with their weights; updates of generators are taken apart from them."""
        given = reply.contribution
        for name, part in given.parts.items():
            where = f"section '{name}' of site '{reply.site}'"
            weights = part.read_beside().get(WEIGHTS)
            if weights is None or weights.shape != (len(part.features), 1):
                raise CoresetError(f"{where}: a memory of averages has one weight a row")
            if weights.dtype != np.float32 or not (np.isfinite(weights) & (weights > 0)).all():
                raise CoresetError(f"{where}: weights of averages are positive float32")
            if abs(weights.sum(dtype=float) - part.patches) > ROUNDING * part.patches:
                raise CoresetError(
                    f"{where}: its averages stand for {weights.sum(dtype=float):,.0f} patches, "
                    f"it claims {part.patches:,}"
                )
        if self._models is not None:
            self._models.take(reply, bank)
        return without_updates(given)

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """K-means of all sites' averages, seen through the generator that they trained."""
        memories = {site: _memory(part) for site, part in parts.items()}
        size = self.config.global_bank_size
        found = global_memory(list(memories.values()), size, seed=self.config.seed)
        nearest = NearestNeighbours(found.rows, device=self.device)
        reach = {s: float(nearest.search(m.rows, 1)[0].max()) for s, m in memories.items()}
        radius = max(reach.values())
        metric, learnt = None, {}
        if self._models is not None:
            metric, learnt = self._models.step(name, givers, found.rows.shape[1])
        section = Section(
            found.rows,
            np.full(len(found.rows), MERGED, np.int32),
            radius,
            max(radius, *(part.radius for part in parts.values())),
            {site: n for site, n in givers.images.items() if n},
            metric=metric,
        )
        return section, {
            "rows": len(section),
            "radius": radius,
            "reach": max(reach[site] + part.radius for site, part in parts.items()),
            "flagged": 0,
            "rejected_rows": 0,
            "offered_rows": sum(len(m.rows) for m in memories.values()),
            "sites": list(parts),
            **learnt,
        }


def half(config: RunConfig, *, device: str, rules: MakeRule | None = None) -> FedDyMem:
    """The half at the server."""
    return FedDyMem(config, device, rules)


def _memory(part: Part) -> Memory:
    return Memory(part.read(), part.read_beside()[WEIGHTS][:, 0].astype(np.float64))
