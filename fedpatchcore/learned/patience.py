"""When training stops early: no better held-out loss for so many rounds."""

from __future__ import annotations

import math
from typing import Any

from fedpatchcore.errors import TrainingError

__all__ = ["Patience"]


class Patience:
    """Watches the held-out loss of the model, round by round.

    Args:
        rounds: that may pass without a loss below the best so far; 0: any number.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.best, self.best_round = math.inf, 0

    def enough(self, round: int, loss: float) -> bool:
        """Whether to stop, after the loss of the model that round started from.

        Raises TrainingError for a loss that is NaN.
        """
        if math.isnan(loss):
            raise TrainingError(f"the held-out loss of round {round} is NaN: lower learning-rate")
        if loss < self.best:
            self.best, self.best_round = loss, round
        return 0 < self.rounds <= round - self.best_round

    def facts(self) -> dict[str, Any]:
        """What a checkpoint must hold; JSON."""
        return {"best": self.best if self.best_round else None, "best_round": self.best_round}

    def restore(self, facts: dict[str, Any]) -> None:
        """Go on from there."""
        self.best_round = int(facts["best_round"])
        self.best = math.inf if facts["best"] is None else float(facts["best"])
