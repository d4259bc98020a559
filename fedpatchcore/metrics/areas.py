"""AUROCs of few images, with what they may truly be.

An AUROC is the share of pairs of a good and a defective image that scores put in order, so it
stands beside `fedpatchcore.metrics.rates.Rate`. Only the figure and the two numbers of images are
needed, not the scores, which stay at the sites.

Intervals are those of Newcombe (Statistics in Medicine 25, 2006, 559–573, method 5): Hanley and
McNeil's variance, with both numbers of images replaced by their mean, at the true value that is
asked about and not at the observed one, so that an AUROC of 1 of few images is no certainty. They
are approximate, near the stated share from about ten images of each kind. A mean of several AUROCs
has the interval of Zou and Donner (Statistics in Medicine 27, 2008, 1693–1702), from the intervals
of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from fedpatchcore.metrics.rates import SURE

__all__ = ["Area"]

HALVINGS = 40  # of an interval of at most 1: exact to 1e-12


@dataclass(frozen=True)
class Area:
    """The mean of AUROCs, each of other images.

    Attributes:
        parts: AUROC in [0, 1], good and defective images, one or more.
    """

    parts: tuple[tuple[float, int, int], ...]

    @classmethod
    def of(cls, auroc: float, good: int, defective: int) -> Area:
        """One AUROC of so many images."""
        return cls(((auroc, good, defective),))

    @property
    def share(self) -> float:
        """The mean, in [0, 1]."""
        return math.fsum(part[0] for part in self.parts) / len(self.parts)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the true mean, at 90%."""
        return self.within(SURE)

    def within(self, sure: float) -> tuple[float, float]:
        """Interval that holds the true mean about so often, ``sure`` in (0, 1)."""
        z, below, above = NormalDist().inv_cdf((1 + sure) / 2), 0.0, 0.0
        for auroc, good, defective in self.parts:
            low, high = _newcombe(auroc, good, defective, z)
            below += (auroc - low) ** 2
            above += (high - auroc) ** 2
        share, count = self.share, len(self.parts)
        return share - math.sqrt(below) / count, share + math.sqrt(above) / count

    def __add__(self, other: Area) -> Area:
        return Area(self.parts + other.parts)

    def told(self) -> dict[str, float]:
        """As ``metrics.json`` keeps it."""
        low, high = self.interval
        return {"share": self.share, "low": low, "high": high}

    def __str__(self) -> str:
        """``0.914 (0.83–0.96)``."""
        low, high = self.interval
        return f"{self.share:.3f} ({low:.2f}–{high:.2f})"


def _newcombe(auroc: float, good: int, defective: int, z: float) -> tuple[float, float]:
    """The two values whose standard error puts the observed one just ``z`` of them away."""
    if not good or not defective:
        return 0.0, 1.0
    more, pairs = (good + defective) / 2 - 1, good * defective

    def too_far(true: float) -> bool:
        spread = 1 + more * ((1 - true) / (2 - true) + true / (1 + true))
        return (auroc - true) ** 2 * pairs > z * z * true * (1 - true) * spread

    return _edge(too_far, 0.0, auroc), _edge(too_far, 1.0, auroc)


def _edge(too_far: Callable[[float], bool], far: float, near: float) -> float:
    """Where ``too_far`` ends between two values."""
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        far, near = (middle, near) if too_far(middle) else (far, middle)
    return near
