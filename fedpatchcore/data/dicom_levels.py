"""Windows of DICOM: which values are black and which white, and what lies between.

The functions of the standard, PS3.3 C.11.2.1.2 and C.11.2.1.3, as shares from 0 (black) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import ImageError

__all__ = ["SHAPES", "Window", "shares"]

SHAPES = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """A window: centre (level) and width, in units after the rescale; ``shape`` of `SHAPES`."""

    centre: float
    width: float
    shape: str = "LINEAR"

    @classmethod
    def of(cls, centre: float, width: float, shape: str) -> Window:
        """Raises ImageError for a shape that is none, or a width that its shape cannot have."""
        if shape not in SHAPES:
            raise ImageError("its window has a function that is not known; export it as LINEAR")
        if width < 1 if shape == "LINEAR" else width <= 0:
            raise ImageError("its window has no width; export it anew, or state value-range")
        return cls(centre, width, shape)


def shares(values: np.ndarray, window: Window) -> np.ndarray:
    """float64 of any shape → shares of white, 0 to 1."""
    if window.shape == "SIGMOID":
        steep = np.clip(-4 * (values - window.centre) / window.width, -700, 700)
        return 1 / (1 + np.exp(steep))
    if window.shape == "LINEAR_EXACT":
        return ((values - window.centre) / window.width + 0.5).clip(0, 1)
    if window.width == 1:
        return (values > window.centre - 0.5).astype(np.float64)
    return ((values - (window.centre - 0.5)) / (window.width - 1) + 0.5).clip(0, 1)
