"""What a threshold is worth, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedpatchcore.detection.calibration import Threshold
from fedpatchcore.detection.suspects import Suspect
from fedpatchcore.metrics.promises import Promise, needed
from fedpatchcore.metrics.rates import percent

__all__ = ["named_suspects", "rests_on", "short_of", "worth"]


def worth(promise: Promise) -> str:
    """``24 images in 5 folds: 5.0% of good parts stopped, between 0% and 13% (90% sure)``."""
    words = f"{promise.images:,} image{'' if promise.images == 1 else 's'}"
    if promise.grouped:
        words += f" of {promise.groups:,} groups"
    how = f"in {promise.folds} folds" if promise.folds else "held out"
    words += (
        f" {how}: {percent(promise.promised)} of good parts stopped, between "
        f"{percent(promise.low)} and {percent(promise.high)} (90% sure)"
    )
    if math.isfinite(promise.new_group):
        words += f"; {percent(promise.new_group)} of a new group's"
    return words


def short_of(promise: Promise, target_fpr: float) -> str:
    """Why the target is not kept, and what would mend it; empty where it is."""
    if not promise.images:
        return "no threshold: it takes two images, or groups of them, to set one"
    if promise.falls_short(target_fpr):
        return (
            f"target-fpr={target_fpr:g} cannot be promised with {promise.images} images, only "
            f"{percent(promise.promised)}: it takes {needed(target_fpr)} or more"
        )
    if promise.fails_new_groups(target_fpr):
        return (
            f"of a group that was never seen {percent(promise.new_group)} would be stopped, not "
            f"{percent(target_fpr)}: images of more groups would help"
        )
    return ""


def rests_on(found: Threshold, name: str) -> str:
    """That a single image decides; empty if none does."""
    if not found.rests_on_one:
        return ""
    return (
        f"the threshold {found.value:.4g} rests on one image, {name}; without it, it would be "
        f"{found.without:.4g}: look at it, and list it in a table of excluded images if it is no "
        "good part"
    )


def named_suspects(suspects: Sequence[Suspect], names: Sequence[str]) -> str:
    """``017.png 1.24 (!), 003.png 0.78``: worst first, those beyond chance marked."""
    return ", ".join(
        f"{name} {one.score:.4g}{' (!)' if one.odd else ''}"
        for one, name in zip(suspects, names, strict=True)
    )
