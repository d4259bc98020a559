"""What a threshold is worth, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedpatchcore.detection.calibration import Threshold
from fedpatchcore.detection.suspects import Suspect
from fedpatchcore.metrics.promises import needed
from fedpatchcore.metrics.rates import percent

__all__ = ["named_suspects", "rests_on", "short_of", "worth", "worth_told"]


def worth(found: Threshold, folds: int) -> str:
    """``24 images in 5 folds: 5.0% of good parts stopped, between 0% and 13% (90% sure)``."""
    return worth_told(found.told(folds))


def worth_told(told: Mapping[str, float]) -> str:
    """The same of what a bank's header keeps (`Threshold.told`)."""
    images, groups, folds = (int(told[name]) for name in ("images", "groups", "folds"))
    words = f"{images:,} image{'' if images == 1 else 's'}"
    if groups < images:
        words += f" of {groups:,} groups"
    how = f"in {folds} folds" if folds else "held out"
    words += (
        f" {how}: {percent(told['promised'])} of good parts stopped, between "
        f"{percent(told['low'])} and {percent(told['high'])} (90% sure)"
    )
    if "new_group" in told:
        words += f"; {percent(told['new_group'])} of a new group's"
    return words


def short_of(found: Threshold, target_fpr: float) -> str:
    """Why the target is not kept, and what would mend it; empty where it is."""
    if not found.images:
        return "no threshold: it takes two images, or groups of them, to set one"
    if not found.keeps(target_fpr):
        return (
            f"target-fpr={target_fpr:g} cannot be promised with {found.images} images, only "
            f"{percent(found.promised_fpr)}: it takes {needed(target_fpr)} or more"
        )
    if math.isfinite(found.new_group) and found.new_group > target_fpr:
        return (
            f"of a group that was never seen {percent(found.new_group)} would be stopped, not "
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
