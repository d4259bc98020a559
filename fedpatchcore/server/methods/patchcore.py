"""PatchCore at the server: the sites' coresets, put together by the aggregation in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import CoresetError
from fedpatchcore.server.merging import merge_section
from fedpatchcore.server.methods.registry import Givers, nothing_beside
from fedpatchcore.wire.messages import TrainReply

__all__ = ["PatchCore", "half"]


class PatchCore:
    """Coresets in, a bank out; nothing else is kept or sent."""

    def __init__(self, config: RunConfig, device: str) -> None:
        self.config, self.device = config, device
        self.enough = ""  # new images may come at any time

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """Rows alone."""
        if told := nothing_beside(reply.contribution):
            raise CoresetError(f"site '{reply.site}' sent {told}")
        return reply.contribution

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """By the aggregation in force."""
        return merge_section(parts, givers.sites, givers.images, self.config, device=self.device)

    def beside(self) -> Mapping[str, np.ndarray]:
        """Nothing."""
        return {}

    def save(self, folder: Path) -> None:
        """Nothing is needed."""

    def load(self, folder: Path) -> None:
        """Nothing was written."""


def half(config: RunConfig, *, device: str, rules: object = None) -> PatchCore:
    """The half at the server."""
    return PatchCore(config, device)
