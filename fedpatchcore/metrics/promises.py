"""What a threshold rests on and promises, in words, and where that falls short of what was asked.

`fedpatchcore.detection.calibration` says where the figures come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.rates import percent, spanned

__all__ = ["Promise", "needed", "range_of"]

NAMES = {  # of a bank's header → of a site's result
    "folds": "folds",
    "images": "calibrated",
    "groups": "groups",
    "promised": "promised_fpr",
    "low": "fpr_low",
    "high": "fpr_high",
    "new_group": "new_group_fpr",
}


@dataclass(frozen=True)
class Promise:
    """Of the share of good parts that one threshold stops.

    Attributes:
        images, groups, folds: what it rests on; no folds: images held out. 0 groups: not told.
        promised: on average over thresholds set so.
        low, high: 90% interval of the true share.
        new_group: share of a group that was never seen; NaN where no two images belong together.
    """

    images: int
    promised: float = 1.0
    low: float = 0.0
    high: float = 1.0
    groups: int = 0
    folds: int = 0
    new_group: float = math.nan

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> Promise | None:
        """From a site's result; None where no threshold could be set, or the site keeps it."""
        if not result.get("calibrated"):
            return None
        told = {name: result.get(key) for name, key in NAMES.items()}
        return cls(**{name: value for name, value in told.items() if value is not None})

    def as_result(self) -> dict[str, float | int]:
        """Under the names of a site's result; inverse of `of_result`."""
        return {key: getattr(self, name) for name, key in NAMES.items()}

    @classmethod
    def of_bank(cls, told: Mapping[str, float]) -> Promise:
        """From what a bank's header keeps, see `told`."""
        counts = {name: int(told.get(name, 0)) for name in ("images", "groups", "folds")}
        return cls(**(dict(told) | counts))

    def told(self) -> dict[str, float | int]:
        """As a bank's header keeps it; inverse of `of_bank`."""
        told = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in told.items() if not math.isnan(value)}

    @property
    def grouped(self) -> bool:
        """Whether some images belong together."""
        return 0 < self.groups < self.images

    @property
    def basis(self) -> str:
        """``24 images in 8 groups, 5 folds``: what it rests on."""
        count = f"{self.images:,} image{'' if self.images == 1 else 's'}"
        groups = f" in {self.groups:,} group{'' if self.groups == 1 else 's'}"
        count += groups if self.grouped else ""
        if not self.folds:
            return f"{count} held out"
        parts = self.groups if self.grouped else self.images
        way = "one by one" if self.folds >= parts else f"{self.folds} folds"
        return f"{count}, {way}"

    @property
    def worth(self) -> str:
        """``24 images, 5 folds: 5.0% of good parts stopped, between 0% and 13% (90% sure)``."""
        words = (
            f"{self.basis}: {percent(self.promised)} of good parts stopped, between "
            f"{percent(self.low)} and {percent(self.high)} (90% sure)"
        )
        if math.isfinite(self.new_group):
            words += f"; {percent(self.new_group)} of a new group's"
        return words

    def falls_short(self, target: float) -> bool:
        """Whether more false alarms are promised than were asked for."""
        return self.promised > target + 1e-9

    def fails_new_groups(self, target: float) -> bool:
        """Whether images of a new group are stopped more often than was asked for.

        Of groups enough to promise the target, one more above than it allows is no sign: their
        share comes in steps of a group, and of images all alike it lies above the target as
        often as not.
        """
        slack = 1 / self.groups if self.grouped and self.groups >= needed(target) else 0.0
        return self.grouped and self.new_group > target + slack + 1e-9

    def shortcomings(self, target: float) -> list[str]:
        """What a plant should know of this threshold, and how many images would mend it."""
        if not self.images:
            return ["no threshold: it takes two images, or groups of them, to set one"]
        told, least = [], needed(target)
        if self.falls_short(target):
            told.append(
                f"{self.basis}, which cannot promise fewer than {percent(self.promised)} false "
                f"alarms: target-fpr asks for {percent(target)}, and that takes {least:,} images"
            )
        if self.fails_new_groups(target):
            more = f", and it takes {least:,} to promise it" if self.groups < least else ""
            told.append(
                f"images of a group that was never seen have {percent(self.new_group)} false "
                f"alarms, target-fpr asks for {percent(target)}: there are {self.groups:,} "
                f"group{'' if self.groups == 1 else 's'}{more}"
            )
        return told

    def __str__(self) -> str:
        """``5.0% (0%–14%)``."""
        return f"{percent(self.promised)} ({spanned(self.low, self.high)})"


def needed(target: float) -> int:
    """Of images, each from conditions of its own, the fewest that can promise ``target``."""
    return max(1, math.ceil(1 / target - 1e-9) - 1)


def range_of(promises: Iterable[Promise]) -> tuple[str, str]:
    """Of several thresholds: promised shares, and where the true ones lie; dashes of none."""
    all_ = list(promises)
    if not all_:
        return "–", "–"
    ends = (min(p.promised for p in all_), max(p.promised for p in all_))
    low, high = min(p.low for p in all_), max(p.high for p in all_)
    shares = dict.fromkeys(percent(end) for end in ends)
    return "–".join(shares), spanned(low, high)
