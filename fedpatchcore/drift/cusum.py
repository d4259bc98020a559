"""The cumulative sum chart: small changes that last add up, single odd parts do not.

Page, *Continuous inspection schemes*, Biometrika 41, 1954; here in the tabular form of Montgomery,
*Introduction to Statistical Quality Control*, 9.1: of values in standard deviations

    up ← max(0, up + z − k)        down ← max(0, down − z − k)

and a signal once one of them exceeds h. ``k`` is half of the change that is looked for, ``h`` how
much evidence is asked for. How long it takes on average is told by `run_length`: the chart as a
Markov chain over slices of [0, h] (Brook & Evans, *An approach to the probability distribution of
CUSUM run length*, Biometrika 59, 1972).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

__all__ = ["Cusum", "run_length", "run_length_of_both"]

SLICES = 150
NORMAL = NormalDist()


@dataclass(frozen=True)
class Cusum:
    """Both sums after some parts.

    Attributes:
        up, down: ≥ 0, in standard deviations.
        rising, falling: parts since the sum was last 0; the change began about then.
    """

    up: float = 0.0
    down: float = 0.0
    rising: int = 0
    falling: int = 0

    def step(self, z: float, k: float) -> Cusum:
        """One more value, in standard deviations from the usual middle."""
        up, down = max(0.0, self.up + z - k), max(0.0, self.down - z - k)
        return Cusum(up, down, self.rising + 1 if up else 0, self.falling + 1 if down else 0)


@cache
def run_length(shift: float, k: float, h: float) -> float:
    """Parts until one sum exceeds ``h``, on average, from 0 on.

    Args:
        shift: of the mean of independent normal values, in standard deviations; 0: as before, and
            the answer is how many parts lie between two false alarms.
    """
    width = 2 * h / (2 * SLICES - 1)
    steps = np.arange(1 - SLICES, SLICES)
    below = np.array([NORMAL.cdf(width * (one + 0.5) + k - shift) for one in steps])
    at = np.arange(SLICES)
    upper = below[at[None, :] - at[:, None] + SLICES - 1]  # from slice i to j or below
    chance = upper.copy()
    chance[:, 1:] -= upper[:, :-1]
    # what lies below 0 starts anew: the first column holds all of it
    return float(np.linalg.solve(np.eye(SLICES) - chance, np.ones(SLICES))[0])


def run_length_of_both(shift: float, k: float, h: float) -> float:
    """The same of the two sums together: 1/both = 1/up + 1/down (Montgomery, 9.1.3)."""
    return 1 / (1 / run_length(shift, k, h) + 1 / run_length(-shift, k, h))
