"""What the server's halves of methods that train have in common."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.learned.carried import is_carried
from fedpatchcore.server.methods.gradients import Models

__all__ = ["Training", "without_updates"]


class Training:
    """What the halves of methods that train share: their models speak of rounds and checkpoints.

    Args:
        models: None where no model leaves its site.
    """

    def __init__(self, models: Models | None) -> None:
        self._models = models

    @property
    def enough(self) -> str:
        """See `Models.enough`."""
        return self._models.enough if self._models else ""

    def beside(self) -> dict[str, np.ndarray]:
        """What the optimiser sends beside the models."""
        return self._models.beside() if self._models else {}

    def moves(self, present: Set[str]) -> dict[str, dict[str, float]]:
        """How long what sites learnt in this round is, by section and site."""
        return self._models.moves(present) if self._models else {}

    @property
    def models(self) -> Models:
        """What a run without rounds speaks with (`fedpatchcore.server.flow`)."""
        return self._models

    def save(self, folder: Path) -> None:
        """The optimiser's state."""
        if self._models is not None:
            self._models.save(folder)

    def load(self, folder: Path) -> None:
        """Go on from `save`."""
        if self._models is not None:
            self._models.load(folder)


def without_updates(given: Contribution) -> Contribution | None:
    """A contribution without the updates beside its rows; None if nothing is left of it."""
    parts = {
        name: Part(
            part.features,
            part.images,
            part.patches,
            part.radius,
            {what: one for what, one in part.beside.items() if not is_carried(what)},
        )
        for name, part in given.parts.items()
    }
    left = {name: part for name, part in parts.items() if len(part.features)}
    return Contribution(given.site, given.fingerprint, left) if left else None
