"""Banks out of noisy sums or rows of five sites, and the judge of what they detect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common import exposure

from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.view import clipped
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.sums import ImageSums

DELTA, SEEDS, SITES = 1e-5, 3, 5
NEGLIGIBLE = 1e-3  # noise that stands for ε = ∞


class Judge:
    """Image AUROCs of distances of all test patches."""

    def __init__(self, tool: Extractor, tests: Sequence, groups: Sequence[str]) -> None:
        features, _, _ = tool.all([t.path for t in tests])
        features = features.dense()
        self.queries = features.reshape(-1, features.shape[-1])
        self.count, self.groups = len(tests), list(groups)
        self.labels = np.array([t.anomalous for t in tests])

    def distances(self, rows: np.ndarray, clip: float = 0.0) -> np.ndarray:
        queries = clipped(self.queries, clip) if clip else self.queries
        return NearestNeighbours(rows).search(queries)[0][:, 0]

    def spread(self, rows: np.ndarray, metrics: np.ndarray) -> np.ndarray:
        return spread_of(self.queries, rows, metrics)

    def scores(self, distances: np.ndarray) -> np.ndarray:
        return distances.reshape(self.count, -1).max(1)

    def auroc(self, distances: np.ndarray) -> float:
        return image_auroc(self.scores(distances), self.labels)

    def difference(self, one: np.ndarray, other: np.ndarray) -> str:
        told = paired_bootstrap(self.labels, self.scores(one), self.scores(other), self.groups)
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told)


class Halves(Judge):
    """A judge whose test images are of two halves: one to choose by, one to tell."""

    def __init__(self, tool: Extractor, tests: Sequence, groups: Sequence[str]) -> None:
        super().__init__(tool, tests, groups)
        first = set(sorted(set(groups))[::2])
        self.choosing = np.array([group in first for group in groups])

    def half(self, scores: np.ndarray, choosing: bool) -> float:
        """Image AUROC of one half."""
        mine = self.choosing == choosing
        return image_auroc(scores[mine], self.labels[mine])

    def apart(self, one: np.ndarray, other: np.ndarray) -> str:
        """By how much one's AUROC is above the other's on the telling half, with its interval."""
        mine = ~self.choosing
        groups = [group for group, told in zip(self.groups, mine, strict=True) if told]
        told = paired_bootstrap(self.labels[mine], one[mine], other[mine], groups)
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told)


def spread_of(features: np.ndarray, rows: np.ndarray, metrics: np.ndarray) -> np.ndarray:
    """Distances of features ``[..., D]`` from the nearest row by the row's metric ``[D, r]``."""
    metrics = metrics.reshape(len(rows), *metrics.shape[-2:])
    found = [
        np.linalg.norm(features @ metric - row @ metric, axis=-1)
        for row, metric in zip(rows, metrics, strict=True)
    ]
    return np.minimum.reduce(found)


def sites_of(name: str, train: Sequence) -> np.ndarray:
    """Site of each training image: light of a tile, chance for an impeller."""
    if name == "magnetic_tile":
        return np.array([{0: 0, 1: 0, 2: 1, 3: 2, 4: 3}.get(exposure(p), 4) for p in train])
    return np.random.default_rng(0).permutation(len(train)) % SITES


def shares(
    mechanism: ImageSums, tool: Extractor, train: Sequence, site: np.ndarray
) -> list[np.ndarray]:
    """Each site's sum before the lattice and the noise."""
    sums = [np.zeros(mechanism.shape) for _ in range(SITES)]
    for at, features in tool.stream(train, Tally()):
        sums[site[at]] += mechanism.share(features.reshape(-1, features.shape[-1]))
    return sums


def cells(book: Codebook, sums: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    """Rows of the bank that the sites' noisy sums make."""
    finite = np.isfinite(epsilon)
    sigma = gaussian_sigma(epsilon, DELTA) if finite else NEGLIGIBLE
    mechanism = CellSums(book, sigma)
    total = sum(mechanism.release(mechanism.on_lattice(s)) for s in sums)
    noise = sigma * SITES**0.5 if finite else 1.0  # ε = ∞: the cells a low noise would keep
    return book.lift(mechanism.centroids(total, sigma=noise).coordinates)


def moments(
    book: Codebook, sums: Sequence[np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Row ``[1, D]`` and metric ``[D, d]`` of the bank that the sites' noisy sums make.

    Also how many directions rise above the noise.
    """
    sigma = gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE
    mechanism = MomentSums(book, sigma)
    total = sum(mechanism.release(mechanism.on_lattice(s)) for s in sums)
    found = mechanism.spread(total, sigma=sigma * SITES**0.5)
    return book.lift(found.mean[None]), book.basis @ found.metric, found.known


def per_vector(coresets: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    """Every site's clipped and noised rows side by side; zeros give the control."""
    if not np.isfinite(epsilon):
        return np.concatenate([clipped(rows, 1.0) for rows in coresets])
    mechanism = PerVectorGaussian(1.0, gaussian_sigma(epsilon, DELTA))
    return np.concatenate([mechanism.release(rows) for rows in coresets])


def coverage(book: Codebook, features: np.ndarray) -> dict[str, float]:
    """How real normal patches lie about the public cells."""
    points = book.project(features)
    nearest = np.linalg.norm(points - book.cells[book.assign(points)], axis=1)
    outside = np.linalg.norm(features - book.lift(points), axis=1)
    used = np.bincount(book.assign(points), minlength=len(book)) / len(points)
    return {
        "within ρ": float((nearest <= book.radius).mean()),
        "within ρ/2": float((nearest <= book.radius / 2).mean()),
        "median distance": float(np.median(nearest)),
        "ρ": book.radius,
        "outside the slice": float(np.median(outside)),
        "cells holding 99%": int((np.cumsum(np.sort(used)[::-1]) < 0.99).sum() + 1),
    }
