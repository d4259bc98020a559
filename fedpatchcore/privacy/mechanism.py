"""What adds the noise: `ImageSums` protect an image, `PerVectorGaussian` only a row.

Unit of privacy of `ImageSums` (`CellSums` here, `fedpatchcore.privacy.moments.MomentSums`,
`fedpatchcore.privacy.kernels.KernelSums`): one training image of one facility, with all its
patches, add/remove adjacency. Everything public (backbone, codebook, weights of the two halves)
is fixed before a private image is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.noise import rounded_gaussian

__all__ = ["CellSums", "Centroids", "ImageSums", "PerVectorGaussian"]

MASS_WEIGHT = 0.2  # α²; the residuals have β² = 1 − α²
STEPS_A_SIGMA = 2**12  # lattice steps in one standard deviation
KEEP = 3.0  # standard deviations of noise that a cell's mass must exceed
LEAST_SIGMA = 1e-9  # below, lattice steps no longer fit in int64 (ε far beyond any use)
ROUNDING = 1e-9  # by how much a share is kept shorter than 1; float64 sums err by far less
FAR = 1e12  # coordinates beyond are drawn in: nothing may overflow

RandBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class Centroids:
    """What a release says: where patches are, as far as the noise lets one see.

    Attributes:
        coordinates: float32 ``[m, d]`` in the codebook's slice.
        mass: float64 ``[m]``, noisy Σ over images of √(share of its patches in the cell).
        error: float64 ``[m]``, expected L2 error of each centroid that comes from the noise.
        cells: int64 ``[m]``, which cells were kept.
    """

    coordinates: np.ndarray
    mass: np.ndarray
    error: np.ndarray
    cells: np.ndarray


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

    @property
    def shape(self) -> tuple[int, int]:
        """Of a share and of a release."""
        raise NotImplementedError

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


class CellSums(ImageSums):
    """Noisy sums over images of what each has in the cells of a public codebook.

    For an image with patches z in cells 1..k: p_j is the fraction of its patches in cell j,
    s_j = √p_j, and r̄_j the mean over its patches in cell j of the residual (z − c_j), clipped to
    the codebook's radius ρ and divided by ρ. Its contribution is

        u = (α s_j, β s_j r̄_j)_j,    α² + β² = 1.

    **Sensitivity.** Σ_j s_j² = Σ_j p_j = 1 and ‖r̄_j‖ ≤ 1 (a mean of vectors in the unit
    ball), so ‖u‖² = α² Σ s_j² + β² Σ s_j² ‖r̄_j‖² ≤ α² + β² = 1, whatever the image, and nothing
    had to be tuned or clipped for it. The rest is `ImageSums`.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Of a release: cells, and mass + residual coordinates."""
        return len(self.codebook), 1 + self.codebook.cells.shape[1]

    def _share(self, points: np.ndarray) -> np.ndarray:
        cells = self.codebook.assign(points)
        residuals = points - self.codebook.cells[cells]
        lengths = np.linalg.norm(residuals, axis=1, keepdims=True)
        residuals /= np.maximum(lengths, self.codebook.radius)
        k, width = self.shape
        member = np.zeros((k, len(points)))
        member[cells, np.arange(len(points))] = 1.0
        counts = member.sum(1)
        roots = np.sqrt(counts / len(points))
        means = member @ residuals / np.maximum(counts, 1.0)[:, None]
        u = np.empty((k, width))
        u[:, 0] = np.sqrt(MASS_WEIGHT) * roots
        u[:, 1:] = np.sqrt(1 - MASS_WEIGHT) * roots[:, None] * means
        return u

    def centroids(self, released: np.ndarray, *, sigma: float | None = None) -> Centroids:
        """Read a release, or a sum of releases whose noise has standard deviation ``sigma``.

        A cell is kept if its noisy mass is above `KEEP` standard deviations (the one with most
        mass always is). Its centroid is c_j + ρ (B_j/β)/(A_j/α), the shift shrunk by as much
        as noise explains of it (James & Stein, 1961, positive part) and kept within ρ.
        """
        noise = self.sigma if sigma is None else sigma
        values = released * self.step
        alpha, beta = np.sqrt(MASS_WEIGHT), np.sqrt(1 - MASS_WEIGHT)
        keep = np.flatnonzero(values[:, 0] > KEEP * noise)
        if not len(keep):
            keep = values[:, :1].argmax(0)
        mass = np.maximum(values[keep, 0], 1e-9) / alpha
        shifts = values[keep, 1:] / beta / mass[:, None]
        variance = shifts.shape[1] * (noise / beta / mass) ** 2
        squares = np.maximum((shifts**2).sum(1), 1e-12)
        trust = np.maximum(0.0, 1 - variance / squares)
        shifts *= (trust / np.maximum(1.0, trust * np.sqrt(squares)))[:, None]
        book = self.codebook
        return Centroids(
            (book.cells[keep] + book.radius * shifts).astype(np.float32),
            mass,
            book.radius * np.minimum(1.0, np.sqrt(variance) * trust),
            keep,
        )


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
