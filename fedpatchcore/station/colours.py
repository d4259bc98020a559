"""What the colours of a map say, and how far a score is from its threshold, as pages draw them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from fedpatchcore.pictures.figures import overlay
from fedpatchcore.pictures.scale import MOST, Scale

__all__ = ["gauge", "legend"]

STEPS = 24


@dataclass(frozen=True)
class Legend:
    """Attributes: colours from the lower end up, evenly spaced; ticks: place (0 to 1) and words."""

    colours: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...]


def legend(threshold: float | None, number: Callable[[str], str] = str) -> Legend:
    """The scale of a map that was judged by this threshold.

    Args:
        number: how a number is written.
    """
    scale = Scale.of(threshold)
    ticks = [(scale.bend, f"{scale.bend:.3g}")] if threshold else []
    for one in sorted(scale.ticks())[1:]:
        if one != 1.5 * scale.bend:  # too near to the others for a strip this short
            ticks.append((one, f"{one / scale.bend:.2g}×" if threshold else f"{one:.3g}"))
    placed = tuple((float(scale.share(at)), number(told)) for at, told in ticks)
    return Legend(_colours(scale), placed)


@lru_cache(maxsize=64)
def _colours(scale: Scale) -> tuple[str, ...]:
    ramp = scale.at(np.linspace(0, 1, STEPS))[None]
    painted = overlay(Image.new("L", (STEPS, 1), 128), ramp, scale)[0]
    return tuple("#{:02x}{:02x}{:02x}".format(*one) for one in painted.tolist())


def gauge(score: float, threshold: float) -> tuple[float, float]:
    """How long the bar of a score is, and where the threshold stands, as shares of the longest.

    Up to the threshold by the score, above it by its logarithm, up to `MOST` times the threshold.
    """
    scale = Scale(0.0, threshold, MOST * threshold)
    return float(scale.share(score)), float(scale.share(threshold))
