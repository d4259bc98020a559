"""Noisy sums that protect an image: what all mechanisms of this kind share.

Unit of privacy: one training image of one facility, with all its patches, add/remove adjacency.
Everything public (backbone, codebook, weights) is fixed before a private image is looked at. The
mechanisms themselves are listed in `fedpatchcore.privacy.registry`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.noise import rounded_gaussian
from fedpatchcore.privacy.settings import PrivacySettings

__all__ = ["FAR_OUT", "KEEP", "STEPS_A_SIGMA", "ImageSums", "RandBytes", "Readout"]

STEPS_A_SIGMA = 2**12  # lattice steps in one standard deviation
KEEP = 3.0  # standard deviations of noise that a figure must exceed to be known
LEAST_SIGMA = 1e-9  # below, lattice steps no longer fit in int64 (ε far beyond any use)
ROUNDING = 1e-9  # by how much a share is kept shorter than 1; float64 sums err by far less
FAR = 1e12  # coordinates beyond are drawn in: nothing may overflow
FAR_OUT = 10.0  # the patches of images made for audits lie so many radii out

MOST_CELLS = 4096  # as dp-cells: a site's sums take memory and noise for each
RandBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class Readout:
    """What is read from added-up sums: a product's part of the bank, and what the record shows.

    Attributes:
        rows: float32 ``[M, D]`` in feature space.
        error: largest expected L2 error of a row that comes from the noise.
        noise: mean of that error.
        known, of, what: so many of these things rise above the noise.
        metric: float32 ``[D, r]`` where the score is no plain distance to the rows.
        amplitudes: float32 ``[2r]`` where the columns of the metric are waves.
        row_metrics: float32 ``[M, D, r]`` where each row has a metric of its own.
    """

    rows: np.ndarray
    error: float
    noise: float
    known: int
    of: int
    what: str
    metric: np.ndarray | None = None
    amplitudes: np.ndarray | None = None
    row_metrics: np.ndarray | None = None


class ImageSums:
    """Noisy sums over images of one vector an image, each of L2 norm at most 1.

    **Sensitivity.** A subclass gives every image a `share` u with ‖u‖₂ ≤ 1. Each coordinate is
    then cut to a lattice *toward zero*, which shortens a vector and never lengthens it, so
    ‖u‖₂ ≤ 1 still holds for what is summed. Adding or removing any one image moves U = Σ u by
    exactly its u: the L2 sensitivity is 1, whatever the image. Replacing one image by another
    moves it by ≤ 2.

    **Release.** U + N(0, σ²) on the same lattice (`fedpatchcore.privacy.noise`), so (ε, δ) is
    that of the Gaussian mechanism with multiplier σ. Sums of several sites add up, and so do
    their variances. All that is read from the release is post-processing.

    Args:
        sigma: standard deviation of the noise; the sensitivity is 1.
    """

    sensitivity = 1.0

    def __init__(self, codebook: Codebook, sigma: float) -> None:
        if not (np.isfinite(sigma) and sigma >= LEAST_SIGMA):
            raise PrivacyError(f"noise of standard deviation {sigma}")
        self.codebook = codebook
        self.sigma = float(sigma)
        self.step = self.sigma / STEPS_A_SIGMA

    @classmethod
    def of(cls, codebook: Codebook, sigma: float, config: PrivacySettings) -> ImageSums:
        """The mechanism as the settings ask for it."""
        return cls(codebook, sigma)

    @property
    def form(self) -> tuple[object, ...]:
        """What tells its releases from others over the same codebook, beside step and shape."""
        return ()

    @classmethod
    def prepared(cls, book: Codebook, config: PrivacySettings, *, seed: int) -> Codebook:
        """The public codebook as this mechanism needs it; the same everywhere by the seed."""
        return book

    @classmethod
    def misfit(cls, book: Codebook, config: PrivacySettings) -> str:
        """Why a codebook that the server sent is not what the run asked for; "" if it is."""
        if len(book) <= MOST_CELLS:  # a codebook file may have other cells than dp-cells
            return ""
        return f"the server sent {len(book):,} cells, a codebook has at most {MOST_CELLS:,}"

    @property
    def shape(self) -> tuple[int, int]:
        """Of a share and of a release."""
        raise NotImplementedError

    def read(self, released: np.ndarray, *, sigma: float) -> Readout:
        """What a sum of releases says whose noise has standard deviation ``sigma``."""
        raise NotImplementedError

    def refined(self, released: np.ndarray, *, sigma: float, seed: int) -> Codebook | None:
        """A codebook for the next round that follows what this one saw; None: the same again."""
        return None

    def _share(self, points: np.ndarray) -> np.ndarray:
        """u of an image's coordinates in the slice, finite float64 ``[P, d]``."""
        raise NotImplementedError

    def contribution(self, patches: np.ndarray) -> np.ndarray:
        """u of one image, from its patches float32 ``[P, D]`` → int64 of `shape`, in steps.

        Raises:
            PrivacyError: no patches, or values that are not finite: no bound would hold.
        """
        return self.on_lattice(self.share(patches))

    def on_lattice(self, u: np.ndarray) -> np.ndarray:
        """A share in lattice steps, int64, each coordinate cut toward zero."""
        return np.trunc(u / self.step).astype(np.int64)

    def share(self, patches: np.ndarray) -> np.ndarray:
        """u of one image as real numbers, float64 of `shape`, ‖u‖₂ ≤ 1."""
        if patches.ndim != 2 or not len(patches) or not np.isfinite(patches).all():
            raise PrivacyError(f"an image of patches {patches.shape} that cannot be bounded")
        with np.errstate(over="ignore", invalid="ignore"):
            points = self.codebook.project(patches).astype(np.float64)
        u = self._share(np.clip(np.nan_to_num(points), -FAR, FAR))
        if not np.isfinite(u).all():  # from a hostile codebook; to raise would itself tell
            u = np.zeros_like(u)
        length = np.linalg.norm(u)
        if length > 1 - ROUNDING:
            u *= (1 - ROUNDING) / length
        return u

    def total(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """U without noise, int64 of `shape`; never leaves the site."""
        total = np.zeros(self.shape, dtype=np.int64)
        for patches in images:
            total += self.contribution(patches)
        return total

    def release(self, total: np.ndarray, *, randbytes: RandBytes = os.urandom) -> np.ndarray:
        """A total with its noise, int64 of `shape` in steps of `step`."""
        noise = rounded_gaussian(float(STEPS_A_SIGMA), total.size, randbytes=randbytes)
        return total + noise.reshape(total.shape)
