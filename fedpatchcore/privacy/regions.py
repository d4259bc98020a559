"""Mean and spread of a product's patches region by region, from a second round of noisy sums.

What is normal of a part is seldom one cloud of patches: an edge and a plain face vary in different
directions, and one Gaussian over both calls normal what lies between. A first round of
`fedpatchcore.privacy.moments` says where the cloud lies, and along which directions it is longest;
cut by the signs of these it falls into regions, and a second round adds up mean and spread in each.
The score is the smallest of the regions' Mahalanobis distances. Cuts are made of what the first
round released, so they cost nothing.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.cuts import Cuts, are_cuts
from fedpatchcore.privacy.sums import KEEP, ImageSums, Readout

__all__ = ["RegionSums", "upper_weights"]

RIDGE = 0.3  # of the noise's largest eigenvalue, added to every variance
WIDEST = 1e2  # by which a direction may be stretched against the one of most variance


class RegionSums(ImageSums):
    """Noisy sums over images of the second moments of their patches in each region.

    For an image with coordinates z in the slice, y = view (z − mean), and w half the codebook's
    radius: B_k = Σ a aᵀ over its patches in region k, a = (w, y). Its contribution is all B_k (the
    diagonal, and √2 times what lies above it), divided by their common length ‖(B_1, …)‖_F.

    **Sensitivity.** A unit vector, whatever the image and whatever codebook the server sends, so
    ‖u‖ ≤ 1. The rest is `ImageSums`.
    """

    def __init__(self, codebook: Codebook, sigma: float) -> None:
        super().__init__(codebook, sigma)
        self._cuts = Cuts.of(codebook.cells)
        self.regions = 1 << len(self._cuts.directions)
        self._unit = codebook.radius / 2

    @staticmethod
    def fits(codebook: Codebook) -> bool:
        """Whether a codebook is one of regions."""
        return are_cuts(codebook.cells)

    @property
    def form(self) -> tuple[object, ...]:
        """Regions are no covariance of a wider slice."""
        return ("regions", self.regions)

    @property
    def shape(self) -> tuple[int, int]:
        """A row a region: the upper triangle of B."""
        d = self.codebook.basis.shape[1] + 1
        return self.regions, d * (d + 1) // 2

    def _share(self, points: np.ndarray) -> np.ndarray:
        return self.share_of(points)

    def share_of(self, points: np.ndarray) -> np.ndarray:
        """u of an image whose patches lie at these coordinates ``[P, d]``."""
        cuts, d = self._cuts, points.shape[1] + 1
        seen = np.concatenate(
            [np.full((len(points), 1), self._unit), (points - cuts.mean) @ cuts.view], axis=1
        )
        region, found = cuts.region(points), np.zeros(self.shape)
        for k in np.unique(region).tolist():
            mine = seen[region == k]
            found[k] = (mine.T @ mine)[np.triu_indices(d)] * upper_weights(d)
        return found / max(float(np.linalg.norm(found)), 1e-300)

    def read(self, released: np.ndarray, *, sigma: float) -> Readout:
        """A row and a metric of each region that rises above the noise.

        B's first entry tells how many patches there are, its first row their mean, the rest their
        spread. The noise's eigenvalues reach σ√(2(d + 1)) (Wigner, 1955); `RIDGE` of that is added
        to each variance, so that a direction of which nothing is known is not blown up.
        """
        values, d = released * self.step, self.codebook.basis.shape[1]
        weights, upper = upper_weights(d + 1), np.triu_indices(d + 1)
        mass = values[:, 0]
        kept = np.flatnonzero(mass > KEEP * sigma)
        kept = kept if len(kept) else mass.argmax(keepdims=True)
        back = np.linalg.inv(self._cuts.view)
        rows, metrics, known, error = [], [], 0, 0.0
        for k in kept.tolist():
            whole = np.zeros((d + 1, d + 1))
            whole[upper] = values[k] / weights
            whole += np.triu(whole, 1).T
            count = max(mass[k], sigma)
            mean = whole[0, 1:] * (self._unit / count)
            spread = whole[1:, 1:] * (self._unit**2 / count) - np.outer(mean, mean)
            edge = sigma * np.sqrt(2 * (d + 1)) * self._unit**2 / count
            variances, directions = np.linalg.eigh(spread)
            known += int((variances > edge).sum())
            variances = np.maximum(variances, 0) + RIDGE * edge
            metrics.append(self._cuts.view @ directions / np.sqrt(variances))
            rows.append(self._cuts.mean + mean @ back)
            error = max(error, float(sigma * self._unit * np.sqrt(d) / count))
        metrics = _plain_at_most(metrics)
        place = np.array([self._within(row) for row in rows])
        return Readout(
            self.codebook.lift(place),
            error,
            error,
            known,
            d * self.regions,
            "direction",
            row_metrics=np.stack([self.codebook.basis @ m for m in metrics]).astype(np.float32),
        )

    def _within(self, place: np.ndarray) -> np.ndarray:
        return place / max(1.0, float(np.linalg.norm(place)) / self.codebook.radius)


def upper_weights(d: int) -> np.ndarray:
    """Of a symmetric matrix's upper triangle as a vector: 1 on the diagonal, √2 above it."""
    rows, columns = np.triu_indices(d)
    return np.where(rows == columns, 1.0, np.sqrt(2))


def _plain_at_most(metrics: list[np.ndarray]) -> list[np.ndarray]:
    """All by one factor, so that none counts a direction less than plain L2 distance does."""
    parts = [np.linalg.svd(one)[:2] for one in metrics]
    least = min(float(gains[-1]) for _, gains in parts)
    return [axes * np.minimum(gains / least, WIDEST) for axes, gains in parts]
