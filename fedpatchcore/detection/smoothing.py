"""Patch scores → an anomaly map, smooth enough to be looked at and measured by pixel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from fedpatchcore.features.geometry import Geometry

__all__ = ["anomaly_map", "map_of"]

SMOOTHING_SIGMA = 4.0  # pixels of the network's input, as the paper
LARGE = 128  # patches in a line, from which matrices cost more than filters


def map_of(patches: np.ndarray, geometry: Geometry) -> np.ndarray:
    """One image's patch scores ``[h, w]`` → its anomaly map, float32 ``[*geometry.canvas]``."""
    return anomaly_map(patches[None], geometry.canvas(patches.shape), geometry.sigma)[0]


def anomaly_map(
    patches: np.ndarray, size: tuple[int, int], sigma: float = SMOOTHING_SIGMA
) -> np.ndarray:
    """Patch scores ``[B, h, w]`` → anomaly maps float32 ``[B, *size]``, in score units.

    Bilinear upsampling, then Gaussian smoothing with σ = ``sigma`` pixels. Both are linear and
    work on rows and columns apart: two small matrix products, or where grids are large a few
    additions a pixel.
    """
    if max(patches.shape[1:]) > LARGE:
        return np.stack([_smoothed(one, size, sigma) for one in patches])
    down, across = (
        _spread(cells, pixels, sigma) for cells, pixels in zip(patches.shape[1:], size, strict=True)
    )
    return down @ np.asarray(patches, dtype=np.float32) @ across.T


def _smoothed(patches: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
    """The same of one image without matrices."""
    from scipy.ndimage import gaussian_filter

    raised = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(patches, np.float32))[None, None],
        size=tuple(size),
        mode="bilinear",
        align_corners=False,
    )
    return gaussian_filter(raised[0, 0].numpy(), sigma)


@lru_cache(maxsize=32)
def _spread(cells: int, size: int, sigma: float) -> np.ndarray:
    """What each of ``cells`` patches in a line gives to ``size`` pixels, ``[size, cells]``."""
    from scipy.ndimage import gaussian_filter1d  # nothing else of scoring needs it

    one = torch.eye(cells, dtype=torch.float64)[None, None]
    raised = F.interpolate(one, size=(size, cells), mode="bilinear", align_corners=False)
    return gaussian_filter1d(raised[0, 0].numpy(), sigma, axis=0).astype(np.float32)
