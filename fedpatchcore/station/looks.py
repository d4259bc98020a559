"""How an image looks as a whole: how sharp, how bright. A dirty lens shows here first.

Both are of the grey picture at 512 pixels along its longer side, so that they mean the same for
every camera. *Sharpness* is the standard deviation of the Laplacian (Pech-Pacheco et al., *Diatom
autofocusing in brightfield microscopy*, ICPR 2000, take its variance); *brightness* the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Looks", "looks_of"]

SIDE = 512  # pixels


@dataclass(frozen=True)
class Looks:
    """Attributes: grey levels, 0 to 255; sharpness is unbounded above."""

    sharpness: float
    brightness: float


def looks_of(image: Image.Image) -> Looks:
    """The looks of an RGB picture."""
    grey = image.convert("L")
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32)
    if min(values.shape) < 3:
        return Looks(0.0, float(values.mean()))
    middle = values[1:-1, 1:-1]
    laplacian = (
        values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * middle
    )
    return Looks(float(laplacian.std()), float(values.mean()))
