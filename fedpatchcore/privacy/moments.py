"""Mean and spread of a product's patches from noisy sums, image-level differentially private.

A handful of rows cannot say what is normal where it takes hundreds (see benchmarks, section 9);
one row and the directions in which normal patches vary can, with far fewer numbers to put noise
on. The score is then the Mahalanobis distance in the slice (Mahalanobis, 1936; over deep
features: Rippel, Mertens & Merhof, "Modeling the distribution of normal data in pre-trained deep
features for anomaly detection", ICPR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.sums import FAR_OUT, ImageSums, Readout

__all__ = ["MomentSums", "Spread", "moment_canary"]

MEAN_WEIGHT = 0.2  # β²: share of the squared norm that tells of the mean
RIDGE = 0.1  # of the noise's largest eigenvalue, added to every variance
FLAT = 1e-4  # no variance is below this share of the largest
DUST = 1e-12  # a spread smaller than this, against the squares it is a difference of, is rounding


@dataclass(frozen=True)
class Spread:
    """What a release says of normal patches.

    Attributes:
        mean: float32 ``[d]``, in the codebook's slice.
        metric: float32 ``[d, d]``; ‖(z − mean) @ metric‖ is the score. No direction counts less
            than in plain L2 distance, the one of most variance exactly as much.
        error: expected L2 error of the mean that comes from the noise.
        known: directions of the metric whose variance rises above the noise.
    """

    mean: np.ndarray
    metric: np.ndarray
    error: float
    known: int


class MomentSums(ImageSums):
    """Noisy sums over images of each one's mean and its spread about that mean.

    For an image with coordinates z in the codebook's slice: m is their mean, C the covariance of
    its patches about m (the diagonal, and √2 times what lies above it, so that the vector's
    length is ‖C‖_F), and r half the codebook's radius. Its contribution is

        u = (β (r, m) / ‖(r, m)‖,  γ C / ‖C‖_F),    β² + γ² = 1,

    with 0 for the second part where all patches are equal.

    **Sensitivity.** Both parts are unit vectors (or 0) times β and γ, so ‖u‖² ≤ β² + γ² = 1
    whatever the image. Dividing by the length instead of clipping it lets every image use what
    it may, with no public bound to guess; the price is that an image of large spread counts no
    more than one of small. The rest is `ImageSums`.

    Each image's spread is about *its own* mean: nothing of the budget goes into telling how far
    the product is from the public centre, and how images differ from one another as a whole is
    not in it.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Of a release: one row of r, the mean's coordinates, and the covariance's."""
        d = self.codebook.basis.shape[1]
        return 1, 1 + d + d * (d + 1) // 2

    def _share(self, points: np.ndarray) -> np.ndarray:
        d = points.shape[1]
        mean = points.mean(0)
        away = points - mean
        spread = away.T @ away / len(points)
        if np.linalg.norm(spread) <= DUST * (points**2).sum(1).mean():
            spread = np.zeros_like(spread)
        place = np.append(self.codebook.radius / 2, mean)
        upper = spread[np.triu_indices(d)] * _weights(d)
        return np.concatenate(
            [
                np.sqrt(MEAN_WEIGHT) * place / np.linalg.norm(place),
                np.sqrt(1 - MEAN_WEIGHT) * upper / max(np.linalg.norm(upper), 1e-300),
            ]
        )[None]

    def spread(self, released: np.ndarray, *, sigma: float | None = None) -> Spread:
        """Read a release, or a sum of releases whose noise has standard deviation ``sigma``.

        The mean is r times the ratio of the sums, shrunk by what noise explains of it and kept
        within the radius. The symmetric noise matrix has entries of variance σ²/2 off the
        diagonal, hence eigenvalues up to σ√(2d) (Wigner, 1955): variances below 0 are 0, and
        `RIDGE` of that edge is added to each, so that a direction of which nothing is known is
        neither trusted nor blown up.
        """
        noise = self.sigma if sigma is None else sigma
        values = released[0] * self.step
        d, radius = self.codebook.basis.shape[1], self.codebook.radius
        count = max(values[0], noise, 1e-9)
        mean = values[1 : d + 1] * (radius / 2 / count)
        variance = d * (noise * radius / 2 / count) ** 2
        square = max(float(mean @ mean), 1e-12)
        trust = max(0.0, 1 - variance / square)
        mean *= trust / max(1.0, trust * np.sqrt(square) / radius)
        matrix = np.zeros((d, d))
        matrix[np.triu_indices(d)] = values[d + 1 :] / _weights(d)
        matrix += np.triu(matrix, 1).T
        edge = noise * np.sqrt(2 * d)
        found, directions = np.linalg.eigh(matrix)
        variances = np.maximum(found, 0) + RIDGE * edge
        variances = np.maximum(variances, max(variances[-1], 1e-12) * FLAT)
        metric = directions * np.sqrt(variances[-1] / variances)
        return Spread(
            mean.astype(np.float32),
            metric.astype(np.float32),
            float(min(radius, np.sqrt(variance) * trust)),
            int((found > edge).sum()),
        )

    def read(self, released: np.ndarray, *, sigma: float) -> Readout:
        """One row, the mean, and the metric that the spread about it gives; see `spread`."""
        found, book = self.spread(released, sigma=sigma), self.codebook
        return Readout(
            book.lift(found.mean[None]),
            found.error,
            found.error,
            found.known,
            len(found.metric),
            "direction",
            metric=np.ascontiguousarray(book.basis @ found.metric),
        )


def moment_canary(codebook: Codebook, patches: int = 2) -> np.ndarray:
    """An image ``[patches, D]`` whose mean lies far out, all its spread along one direction.

    Nearly any image with two unlike patches moves these sums by 1; this one does it along a
    direction that no other takes.
    """
    far = FAR_OUT * codebook.radius
    points = np.zeros((max(patches, 2), codebook.cells.shape[1]))
    points[:, 0] = far
    points[:, -1] = far * (-1.0) ** np.arange(len(points))
    return codebook.lift(points)


def _weights(d: int) -> np.ndarray:
    """Of the upper triangle as a vector: 1 on the diagonal, √2 above it."""
    rows, columns = np.triu_indices(d)
    return np.where(rows == columns, 1.0, np.sqrt(2))
