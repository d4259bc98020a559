"""Which images a threshold hangs on, in words; what it is worth, `Promise` tells."""

from __future__ import annotations

from collections.abc import Sequence

from fedpatchcore.detection.calibration import Threshold
from fedpatchcore.detection.suspects import Suspect

__all__ = ["named_suspects", "rests_on"]

MARKED = "; (!) further from the rest than chance makes likely: is it a good part?"


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
    """``017.png 1.24 (!), 003.png 0.78``: worst first, those beyond chance marked, and why."""
    told = ", ".join(
        f"{name} {one.score:.4g}{' (!)' if one.odd else ''}"
        for one, name in zip(suspects, names, strict=True)
    )
    return told + MARKED if any(one.odd for one in suspects) else told
