"""Training images that the rest explains least: a person should look at them.

A defective part among the good ones teaches the bank that its defect is normal, and its score
lifts the threshold over the defects that are to be found. Nothing is taken out here: whoever
knows the part decides, and lists what is to be left out (``exclude``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.deviation import robust_sigma

__all__ = ["FAR", "SHOWN", "Suspect", "least_explained"]

SHOWN = 5
FAR = 5.0  # median deviations above the median, from which an image is told as odd


@dataclass(frozen=True)
class Suspect:
    """A training image and how far it lies from what the others taught.

    Attributes:
        number: its place among the images that were scored.
        score: by a bank without it.
        deviations: score above the median score, in robust standard deviations.
    """

    number: int
    score: float
    deviations: float

    @property
    def odd(self) -> bool:
        """Whether it stands out beyond what chance makes likely."""
        return self.deviations > FAR


def least_explained(scores: Sequence[float], count: int = SHOWN) -> list[Suspect]:
    """The images with the highest scores, worst first; ``scores`` ``[n]`` are by banks without."""
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return []
    middle = float(np.median(values))
    spread = robust_sigma(values)
    order = np.argsort(-values, kind="stable")[:count]
    return [
        Suspect(int(at), float(values[at]), _deviations(float(values[at]) - middle, spread))
        for at in order
    ]


def _deviations(above: float, spread: float) -> float:
    if above <= 0:
        return 0.0
    return above / spread if spread else float("inf")
