"""Noise on every row of a coreset: it protects a row, not an image."""

from __future__ import annotations

import os

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.noise import rounded_gaussian
from fedpatchcore.privacy.sums import STEPS_A_SIGMA, RandBytes

__all__ = ["PerVectorGaussian"]


class PerVectorGaussian:
    """Noise on every row: per vector, not per image.

    Each coreset row is clipped to L2 norm C and gets N(0, σ²) in every coordinate, σ calibrated
    as if one image decided one row. It does not: greedy selection looks at all patches, so one
    image can own many rows and change every other. What (ε, δ) protects here is one row *given
    the selection*. For an image, all k rows may each move by 2C: `image_multiplier` says what
    that leaves. Kept because users of earlier systems know it, under its true name.
    """

    def __init__(self, clip: float, sigma: float) -> None:
        if not (clip > 0 and np.isfinite(sigma) and sigma > 0):
            raise PrivacyError(f"clipping norm {clip} and noise {sigma} must be above 0")
        self.clip = float(clip)
        self.sigma = float(sigma)  # for a sensitivity of `clip`
        self.step = self.sigma / STEPS_A_SIGMA

    def image_multiplier(self, rows: int) -> float:
        """Noise over sensitivity if one image may change all ``rows`` rows, each by 2C."""
        return self.sigma / (2 * self.clip * np.sqrt(rows))

    def release(self, rows: np.ndarray, *, randbytes: RandBytes = os.urandom) -> np.ndarray:
        """Rows ``[k, D]`` clipped, cut to a lattice and noised, float32 ``[k, D]``.

        Raises:
            PrivacyError: values that are not finite: they cannot be clipped.
        """
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise PrivacyError(f"rows {rows.shape} that cannot be bounded")
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        held = rows * np.minimum(1.0, self.clip / np.maximum(lengths, 1e-12))
        steps = np.trunc(held / self.step).astype(np.int64)
        noise = rounded_gaussian(float(STEPS_A_SIGMA), steps.size, randbytes=randbytes)
        return ((steps + noise.reshape(steps.shape)) * self.step).astype(np.float32)
