"""How values usually lie, and how far out a new one is, in standard deviations.

Scores of parts are skewed, cut off at the threshold, of two kinds where a line makes two: no mean
and deviation describes them. So a value counts by its rank among those of the reference, as the
normal value of that rank (van der Waerden's normal scores): whatever the reference looks like, a
further value of the same kind has rank 1 … n + 1 with equal chance. Charts over ranks: Hackl &
Ledolter, *A control chart based on ranks*, J. Quality Technology 23, 1991. With n values none is
farther out than ±Φ⁻¹((n + ½)/(n + 1)): ±2.6 of 100.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist, median

__all__ = ["Reference"]

NORMAL = NormalDist()
SPREAD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True)
class Reference:
    """Values of a time when all was well.

    Attributes:
        values: ascending, at least one.
        tolerance: differences up to this matter to nobody: such values count as equal.
    """

    values: tuple[float, ...]
    tolerance: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float], tolerance: float = 0.0) -> Reference:
        """Of values in any order."""
        return cls(tuple(sorted(values)), tolerance)

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def scatter(self) -> float:
        """1.4826 median absolute deviations, at least the tolerance."""
        middle = self.middle
        return max(SPREAD * median(abs(one - middle) for one in self.values), self.tolerance)

    def score(self, value: float) -> float:
        """The normal value of this one's rank, in standard deviations."""
        below = bisect_left(self.values, value - self.tolerance)
        upto = bisect_right(self.values, value + self.tolerance)
        return NORMAL.inv_cdf(((below + upto) / 2 + 0.5) / (len(self.values) + 1))

    def apart(self, value: float) -> float:
        """How far from the median, in `scatter`: unbounded, for telling sizes and causes."""
        away = value - self.middle
        if abs(away) <= self.tolerance or not self.scatter:
            return 0.0
        return away / self.scatter
