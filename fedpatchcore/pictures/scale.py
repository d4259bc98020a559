"""The colour scale: which score has which colour, whatever else is in a picture.

A map is never stretched to its own smallest and largest score. Up to the threshold a colour goes by
the score itself; from there to `MOST` times the threshold by the logarithm of the score's distance
from the lower end: a gross defect lies many times farther from normal than the threshold does, and
has to show where it is worst, beside one that lies just above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import ConfigError

__all__ = ["MOST", "Scale"]

MOST = 10.0  # thresholds at the upper end
LEAST = 0.75  # of the threshold, at the lower end: good parts lie about there
BEND = 0.4  # of the scale, below the threshold; above it there are more orders to tell
UNJUDGED = 0.0, 1.0  # where there is no threshold: a score has one colour all the same


@dataclass(frozen=True)
class Scale:
    """Scores at both ends, and at the bend between the linear and the logarithmic part.

    Raises:
        ConfigError: unless low < bend < high, all finite.
    """

    low: float
    bend: float
    high: float

    def __post_init__(self) -> None:
        ends = self.low, self.bend, self.high
        if not (all(map(math.isfinite, ends)) and self.low < self.bend < self.high):
            told = ", ".join(f"{one:g}" for one in ends)
            raise ConfigError(f"a colour scale needs low < bend < high, got {told}")

    @classmethod
    def around(cls, low: float, bend: float) -> Scale:
        """From ``low`` to `MOST` times ``bend``, or so many distances on if that is not above 0."""
        bend = max(bend, low + 1e-6 * max(1.0, abs(low)))
        reach = bend - low
        high = MOST * bend if bend > 0 else bend + (MOST - 1) * reach
        return cls(low, bend, max(high, bend + reach))

    @classmethod
    def of(cls, threshold: float | None) -> Scale:
        """The scale that a threshold alone makes; one in plain scores without any (None, NaN)."""
        if threshold is None or not math.isfinite(threshold) or threshold <= 0:
            return cls.around(*UNJUDGED)
        return cls.around(LEAST * threshold, threshold)

    def share(self, scores: np.ndarray | float) -> np.ndarray:
        """Place on the scale, 0 to 1, of scores; NaN stays NaN."""
        units = (np.asarray(scores, dtype=np.float64) - self.low) / (self.bend - self.low)
        beyond = np.minimum(np.log(np.maximum(units, 1.0)) / math.log(self._units), 1.0)
        below = BEND * np.maximum(units, 0.0)
        return np.where(units > 1, BEND + (1 - BEND) * beyond, below)

    def at(self, shares: np.ndarray | float) -> np.ndarray:
        """Scores at places on the scale: the other way round."""
        shares = np.asarray(shares, dtype=np.float64)
        beyond = self._units ** (np.maximum(shares - BEND, 0.0) / (1 - BEND))
        units = np.where(shares > BEND, beyond, shares / BEND)
        return self.low + units * (self.bend - self.low)

    def ticks(self) -> list[float]:
        """Scores for a colour bar to name: the ends, and multiples of the bend."""
        if self.bend > 0:
            return [self.low, *(times * self.bend for times in (2.0, 4.0, 1.5)), self.high]
        return [self.low, *self.at(np.array([0.7, 1.0])).tolist()]

    @property
    def _units(self) -> float:
        """The upper end, in distances of the bend from the lower end."""
        return (self.high - self.low) / (self.bend - self.low)
