"""Scores of two banks on one scale, so that the smaller of both means something.

A distance to a site's own rows and one to released moments or kernel sums have no common unit;
their minimum would always be the same bank's. What both have are normal images that neither
holds: the median of their patch scores becomes 0, the threshold that the bank would have alone
becomes 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpatchcore.detection.scoring import PatchScores, flat, nearer
from fedpatchcore.errors import ConfigError

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.bank.section import Section

__all__ = ["Scale", "Together"]


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
    def of(cls, patches: Sequence[np.ndarray], threshold: float) -> Scale:
        """From patch scores ``[h, w]`` of normal images that the bank does not hold."""
        values = flat(patches)
        return cls(float(np.median(values)) if values.size else math.nan, threshold)

    def __call__(self, scores: PatchScores) -> PatchScores:
        """The same scores, 0 at the median patch and 1 at the threshold."""
        reach = self.threshold - self.middle
        patches = [((one - self.middle) / reach).astype(np.float32) for one in scores.patches]
        return replace(scores, patches=patches, images=(scores.images - self.middle) / reach)


@dataclass(frozen=True)
class Together:
    """A site's own bank and another one: the smaller of both scores, and its threshold.

    Attributes:
        scales: of the own bank and of the other; None: both are L2 distances between patches and
            compared as they are.
        threshold: calibrated on the smaller of both; NaN where it is not known.
        top: what makes an image's score of its patches' (`image_scores`).
    """

    scales: tuple[Scale, Scale] | None = None
    threshold: float = math.nan
    top: int = 0

    def __call__(self, own: PatchScores, given: PatchScores) -> PatchScores:
        """Scores of the same images by both → what either knows is normal."""
        if self.scales:
            own, given = self.scales[0](own), self.scales[1](given)
        return nearer(own, given, self.top)

    def told(self, beside: Section) -> dict[str, Any]:
        """As the own bank's header keeps it, ``beside`` a bank with these rows."""
        told: dict[str, Any] = {"beside": beside.digest, "threshold": self.threshold}
        if self.scales:
            for name, one in zip(("own", "given"), self.scales, strict=True):
                told[name] = [one.middle, one.threshold]
        return told

    @classmethod
    def of(cls, own: MemoryBank, product: str, bank: MemoryBank) -> Together:
        """How ``own`` judges a product together with ``bank``.

        Raises:
            ConfigError: the two have no common scale, or ``own`` was calibrated beside another.
        """
        beside, told = bank.section(product), own.hybrid.get(product)
        if told is None:
            if beside.lens:
                how = bank.privacy.get("mechanism", "")
                raise ConfigError(
                    f"a bank of dp='{how}' does not score in distances between patches, and this "
                    "own bank has no scale in common with it: give the own.safetensors that the "
                    "site keeps beside its private.json"
                )
            return cls(top=bank.scoring.get("top", 0))
        if told["beside"] != beside.digest:
            raise ConfigError(
                "this own bank was calibrated beside another bank than this one: give the "
                "own.safetensors of the run that made the bank"
            )
        scales = (Scale(*told["own"]), Scale(*told["given"])) if "own" in told else None
        return cls(scales, told["threshold"], bank.scoring.get("top", 0))
