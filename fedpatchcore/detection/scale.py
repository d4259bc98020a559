"""Scores of two banks on one scale, so that the smaller of both means something.

A distance to a site's own rows and one to released moments or kernel sums have no common unit;
their minimum would always be the same bank's. What both have are normal images that neither
holds: the median of their patch scores becomes 0, the threshold that the bank would have alone
becomes 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fedpatchcore.detection.scoring import PatchScores, nearer
from fedpatchcore.errors import ConfigError

__all__ = ["Scale", "nearer_scaled"]


@dataclass(frozen=True)
class Scale:
    """One bank's scores of normal images: median patch and threshold of images, in its own unit.

    Raises ConfigError unless the median lies below the threshold, both finite.
    """

    middle: float
    threshold: float

    def __post_init__(self) -> None:
        if not (
            math.isfinite(self.middle)
            and math.isfinite(self.threshold)
            and self.middle < self.threshold
        ):
            raise ConfigError(
                f"scores with median {self.middle:g} and threshold {self.threshold:g} on normal "
                "images cannot be brought to one scale with another bank's: judge by one bank"
            )

    @classmethod
    def of(cls, patches: np.ndarray, threshold: float) -> Scale:
        """From patch scores ``[N, h, w]`` of normal images that the bank does not hold."""
        return cls(float(np.median(patches)) if patches.size else math.nan, threshold)

    def __call__(self, scores: PatchScores) -> PatchScores:
        """The same scores, 0 at the median patch and 1 at the threshold."""
        reach = self.threshold - self.middle
        patches = ((scores.patches - self.middle) / reach).astype(np.float32)
        return replace(scores, patches=patches, images=(scores.images - self.middle) / reach)


def nearer_scaled(one: PatchScores, other: PatchScores, scales: tuple[Scale, Scale]) -> PatchScores:
    """`nearer` of both on their own scales: what either bank knows is normal."""
    return nearer(scales[0](one), scales[1](other))
