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
from fedpatchcore.privacy.cuts import region_cells
from fedpatchcore.privacy.regions import RegionSums, upper_weights
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.sums import FAR_OUT, ImageSums, Readout

__all__ = ["MomentSums", "Spread", "moment_canary"]

MEAN_WEIGHT = 0.2  # β²: share of the squared norm that tells of the mean
RIDGE = 0.1  # of the noise's largest eigenvalue, added to every variance
FLAT = 1e-4  # no variance is below this share of the largest
WIDEST = FLAT**-0.5  # by which a view may stretch a direction
CLOSE = 1e-3
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
    its patches about m, seen through `view`, raised to the power p (the diagonal, and √2 times
    what lies above it, so that the vector's length is ‖C^p‖_F), and r half the codebook's radius.
    Its contribution is

        u = (β (r, m) / ‖(r, m)‖,  γ C^p / ‖C^p‖_F),    β² + γ² = 1,

    with 0 for the second part where all patches are equal.

    **Sensitivity.** Both parts are unit vectors (or 0) times β and γ, so ‖u‖² ≤ β² + γ² = 1
    whatever the image, view and power. Dividing by the length instead of clipping it lets every
    image use what it may, with no public bound to guess; the price is that an image of large
    spread counts no more than one of small. The rest is `ImageSums`.

    Each image's spread is about *its own* mean: nothing of the budget goes into telling how far
    the product is from the public centre, and how images differ from one another as a whole is
    not in it.

    **Power.** Variances fall steeply from direction to direction, and the noise is the same for
    all; with p = ½ it is standard deviations that are added up, which fall half as steeply, and
    twice as many directions rise above the noise. What few images have counts less then.

    **Rounds.** The codebook that a release leaves for the next round is the same slice with a view
    in which all directions vary alike: what is added up there has no small ones, so p is 1.

    Args:
        power: p, in (0, 1], of a slice that is seen as it is.
        regions: into how many `refined` cuts the slice, a power of two.

    Attributes:
        view: float64 ``[d, d]``, symmetric; the codebook's cells where they are one, else I.
    """

    def __init__(
        self, codebook: Codebook, sigma: float, power: float = 1.0, regions: int = 1
    ) -> None:
        super().__init__(codebook, sigma)
        self.regions = regions
        self.view = _view(codebook.cells)
        plain = np.array_equal(self.view, np.eye(len(self.view)))
        self.power = float(power) if plain else 1.0

    @classmethod
    def of(cls, codebook: Codebook, sigma: float, config: PrivacySettings) -> ImageSums:
        """With the power of the settings; over a codebook of regions, of those."""
        if config.dp_regions > 1 and RegionSums.fits(codebook):
            return RegionSums(codebook, sigma)
        return cls(codebook, sigma, config.dp_power, config.dp_regions)

    @property
    def form(self) -> tuple[object, ...]:
        """Powers make releases of one shape."""
        return () if self.power == 1 else ("power", self.power)

    @classmethod
    def prepared(cls, book: Codebook, config: PrivacySettings, *, seed: int) -> Codebook:
        """A slice that is seen as it is; its cells mean nothing here."""
        return book.with_cells(np.eye(book.cells.shape[1]), source=book.source)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a release: one row of r, the mean's coordinates, and the covariance's."""
        d = self.codebook.basis.shape[1]
        return 1, 1 + d + d * (d + 1) // 2

    def _share(self, points: np.ndarray) -> np.ndarray:
        mean = points.mean(0)
        away = points - mean
        spread = away.T @ away / len(points)
        if np.linalg.norm(spread) <= DUST * (points**2).sum(1).mean():
            spread = np.zeros_like(spread)
        return self.share_of(mean, spread)

    def share_of(self, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """u of an image whose patches have this mean ``[d]`` and covariance ``[d, d]``."""
        spread = self.view @ spread @ self.view
        if self.power != 1 and spread.any():
            spread = _raised(spread, self.power)
        place = np.append(self.codebook.radius / 2, mean)
        upper = spread[np.triu_indices(len(mean))] * upper_weights(len(mean))
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
        diagonal, hence eigenvalues up to σ√(2d) (Wigner, 1955): what is below 0 is 0, and
        `RIDGE` of that edge is added to each, so that a direction of which nothing is known is
        neither trusted nor blown up. Variances are these to the power 1/p.
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
        matrix[np.triu_indices(d)] = values[d + 1 :] / upper_weights(d)
        matrix += np.triu(matrix, 1).T
        edge = noise * np.sqrt(2 * d)
        found, directions = np.linalg.eigh(matrix)
        raised = np.maximum(found, 0) + RIDGE * edge
        variances = (raised / max(raised[-1], 1e-12)) ** (1 / self.power)
        metric = self.view @ directions / np.sqrt(np.maximum(variances, FLAT))
        axes, gains, _ = np.linalg.svd(metric)
        gains = np.minimum(gains / gains[-1], WIDEST)  # from the direction of most variance
        return Spread(
            mean.astype(np.float32),
            (axes * gains).astype(np.float32),
            float(min(radius, np.sqrt(variance) * trust)),
            int((found > edge).sum()),
        )

    def refined(self, released: np.ndarray, *, sigma: float, seed: int) -> Codebook:
        """The same slice, with a view in which all directions vary alike, cut into regions."""
        found = self.spread(released, sigma=sigma)
        metric = found.metric.astype(np.float64)
        gains = np.linalg.norm(metric, axis=0)
        view = (metric @ (metric / gains).T).astype(np.float32)
        cells = (view + view.T) / 2
        if cuts := min(self.regions.bit_length() - 1, len(view)):  # along what varies most
            cells = region_cells(cells, found.mean, (metric / gains).T[: -cuts - 1 : -1])
        return self.codebook.with_cells(cells, source="an earlier release")

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
    points = np.zeros((max(patches, 2), codebook.basis.shape[1]))
    points[:, 0] = far
    points[:, -1] = far * (-1.0) ** np.arange(len(points))
    return codebook.lift(points)


def _view(cells: np.ndarray) -> np.ndarray:
    """A codebook's cells ``[k, d]`` as a view; I where they are none."""
    d = cells.shape[1]
    told = cells.astype(np.float64)
    if len(told) != d or not np.array_equal(told, told.T):
        return np.eye(d)
    stretch = np.linalg.eigvalsh(told)
    fits = stretch[0] >= 1 - CLOSE and stretch[-1] <= WIDEST * (1 + CLOSE)
    return told if fits else np.eye(d)


def _raised(spread: np.ndarray, power: float) -> np.ndarray:
    """A covariance to a power; zeros where its eigenvalues can't be told (to raise would tell)."""
    try:
        variances, directions = np.linalg.eigh(spread / np.linalg.norm(spread))
    except np.linalg.LinAlgError:
        return np.zeros_like(spread)
    return (directions * np.maximum(variances, 0) ** power) @ directions.T
