"""The server's half without rounds: FedAsync and FedBuff take updates as they arrive.

An update started from version t − τ of the model and arrives at version t; its staleness τ makes
it count less. A step may be given one update or several; they are taken in the given order, and
`version` tells which model goes out next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.rules import Remembered, moved

__all__ = ["STALENESS", "FedAsync", "FedBuff"]

POWER = 0.5  # of "poly": Xie et al. and Nguyen et al. both use (1 + τ)^−½
FREE, STEEP = 4, 10.0  # of "hinge": b and a, of the size that Xie et al. try

STALENESS: Mapping[str, Callable[[int], float]] = {
    "constant": lambda late: 1.0,
    "poly": lambda late: (1.0 + late) ** -POWER,
    "hinge": lambda late: 1.0 if late <= FREE else 1.0 / (STEEP * (late - FREE) + 1.0),
}


class FedAsync:
    """FedAsync (Xie, Koyejo & Gupta, 2019, algorithm 1): x⁺ = (1 − α_t)·x + α_t·y.

    α_t = α·s(τ), y the site's model: its change added to the model it started from, of which the
    server keeps the last ``limit`` + 1.
    """

    def __init__(self, *, mix: float, staleness: str, limit: int) -> None:
        self.mix, self.limit = mix, limit
        self.weigh = STALENESS[staleness]
        self.version = 1
        self.models: dict[int, Arrays] = {}

    @property
    def oldest(self) -> int:
        """The first version from which updates are still taken."""
        return max(1, self.version - self.limit)

    def step(self, round: int, x: Arrays, updates: Sequence[Update]) -> Arrays:
        """See `fedpatchcore.learned.rules.Rule`; ``round`` is `version`, or TrainingError."""
        _check(round, self.version, self.oldest, updates)
        self.models[self.version] = x
        for one in updates:
            start = self.models[one.round]
            share = self.mix * self.weigh(self.version - one.round)
            y = {name: start[name].astype(np.float64) + one.change[name] for name in x}
            x = moved(x, {name: y[name] - x[name] for name in x}, share)
            self.version += 1
            self.models[self.version] = x
        self.models = {at: kept for at, kept in self.models.items() if at >= self.oldest}
        return x

    def state(self) -> Remembered:
        """The models that updates may still start from."""
        arrays = {
            f"{at}/{name}": one for at, kept in self.models.items() for name, one in kept.items()
        }
        return Remembered(arrays, {"version": self.version})

    def restore(self, state: Remembered) -> None:
        """See `fedpatchcore.learned.rules.Rule`."""
        self.version, self.models = int(state.facts["version"]), {}
        for key, one in state.arrays.items():
            at, _, name = key.partition("/")
            self.models.setdefault(int(at), {})[name] = one


class FedBuff:
    """FedBuff (Nguyen et al., AISTATS 2022, algorithm 1): every Z arrivals a step of their mean.

    x⁺ = x + η_g/Z Σ s(τᵢ)·(yᵢ − xᵢ), τᵢ counted when the update arrives. Until Z have come the
    model stays as it is, the same object, and so does `version`.
    """

    def __init__(self, *, buffer: int, staleness: str, limit: int, rate: float = 1.0) -> None:
        self.buffer, self.limit, self.rate = buffer, limit, rate
        self.weigh = STALENESS[staleness]
        self.version, self.waiting = 1, 0
        self.sum: Arrays = {}

    @property
    def oldest(self) -> int:
        """The first version from which updates are still taken."""
        return max(1, self.version - self.limit)

    def step(self, round: int, x: Arrays, updates: Sequence[Update]) -> Arrays:
        """See `fedpatchcore.learned.rules.Rule`; ``round`` is `version`, or TrainingError."""
        _check(round, self.version, self.oldest, updates)
        for one in updates:
            share = self.weigh(self.version - one.round)
            self.sum = {
                name: self.sum.get(name, 0.0) + share * part.astype(np.float64)
                for name, part in one.change.items()
            }
            self.waiting += 1
            if self.waiting == self.buffer:
                x = moved(x, self.sum, self.rate / self.buffer)
                self.version, self.waiting, self.sum = self.version + 1, 0, {}
        return x

    def state(self) -> Remembered:
        """The updates that wait, as their sum (float64)."""
        return Remembered(dict(self.sum), {"version": self.version, "waiting": self.waiting})

    def restore(self, state: Remembered) -> None:
        """See `fedpatchcore.learned.rules.Rule`."""
        self.version, self.waiting = int(state.facts["version"]), int(state.facts["waiting"])
        self.sum = dict(state.arrays)


def _check(round: int, version: int, oldest: int, updates: Sequence[Update]) -> None:
    """Before anything changes: raises TrainingError if one of the updates cannot be taken."""
    if round != version:
        raise TrainingError(f"a step of version {round} was asked for, the model is at {version}")
    for one in updates:
        if not oldest <= one.round <= version:
            raise TrainingError(
                f"the update of site '{one.site}' starts from model {one.round}, models {oldest} "
                f"to {version} are taken: raise staleness-limit, or leave that site out"
            )
