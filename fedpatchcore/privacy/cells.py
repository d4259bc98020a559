"""What an image has in the cells of a public codebook, as noisy sums over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.sums import FAR_OUT, KEEP, ImageSums, Readout

__all__ = ["CellSums", "Centroids", "cell_canary"]

MASS_WEIGHT = 0.2  # α²; the residuals have β² = 1 − α²


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

    def read(self, released: np.ndarray, *, sigma: float) -> Readout:
        """The centroids as rows; see `centroids`."""
        found, book = self.centroids(released, sigma=sigma), self.codebook
        rows = book.lift(found.coordinates)
        worst, noise = float(found.error.max()), float(found.error.mean())
        return Readout(rows, worst, noise, len(rows), len(book), "cell")

    def refined(self, released: np.ndarray, *, sigma: float, seed: int) -> Codebook:
        """Cut anew where the release saw patches."""
        found = self.centroids(released, sigma=sigma)
        return self.codebook.refined(found.coordinates, found.mass**2, seed=seed)


def cell_canary(codebook: Codebook, patches: int = 1) -> np.ndarray:
    """An image ``[patches, D]`` that moves the sums by all that an image can: exactly 1.

    All its patches lie in one cell, the outermost, and far beyond it: one mass of 1, one
    residual at the clipping radius.
    """
    middle = codebook.cells.mean(0)
    outward = codebook.cells - middle
    farthest = outward[np.linalg.norm(outward, axis=1).argmax()]
    length = max(float(np.linalg.norm(farthest)), 1e-6)
    reach = np.linalg.norm(outward, axis=1).max() + FAR_OUT * codebook.radius
    point = middle + farthest / length * reach
    return codebook.lift(np.repeat(point[None], patches, axis=0))
