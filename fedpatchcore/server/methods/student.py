"""A student at the server: its parameters, moved by the optimiser in force, are the bank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.student import flattened
from fedpatchcore.errors import CoresetError
from fedpatchcore.server.methods.gradients import MakeRule, Models
from fedpatchcore.server.methods.registry import Givers
from fedpatchcore.server.methods.training import Training, without_updates
from fedpatchcore.site.methods.gradients import version_of
from fedpatchcore.site.methods.student import student_of
from fedpatchcore.wire.messages import TrainReply

__all__ = ["Student", "half"]


class Student(Training):
    """Updates in, one student a section out."""

    def __init__(self, config: RunConfig, rules: MakeRule | None) -> None:
        super().__init__(Models(config, rules))
        self.config = config

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """The mean of a site's patches; its update is taken apart from it."""
        given = reply.contribution
        images = {s.section: s.images for s in reply.stats}
        for name, part in given.parts.items():
            if len(part.features) != 1:
                raise CoresetError(
                    f"section '{name}' of site '{reply.site}' holds {len(part.features):,} rows, "
                    "asked was the mean of its patches"
                )
            x = student_of(self.config, name, bank, given.fingerprint.dimension)
            self._models.taken(
                reply.site, name, part, x, version_of(bank), images=images.get(name, 0)
            )
        return without_updates(given)

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """The next student, beside the mean of all sites' patches."""
        means = np.concatenate([part.read() for part in parts.values()]).astype(np.float64)
        weights = np.array([part.patches for part in parts.values()], np.float64)
        mean = (weights @ means / weights.sum()).astype(np.float32)[None]
        x = student_of(self.config, name, givers.bank, mean.shape[1])
        version = version_of(givers.bank)
        student, learnt = self._models.stepped(name, x, version, givers.present)
        radius = float(np.linalg.norm(means - mean, axis=1).max())
        section = Section(
            mean,
            np.full(1, MERGED, np.int32),
            radius,
            max(radius, *(part.radius for part in parts.values())),
            {site: n for site, n in givers.images.items() if n},
            student=flattened(student),
        )
        return section, {
            "rows": 1,
            "radius": radius,
            "flagged": 0,
            "rejected_rows": 0,
            "offered_rows": len(parts),
            "sites": list(parts),
            **learnt,
        }


def half(config: RunConfig, *, device: str, rules: MakeRule | None = None) -> Student:
    """The half at the server."""
    return Student(config, rules)
