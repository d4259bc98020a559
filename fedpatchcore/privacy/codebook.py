"""The public part of a private bank: where the cells are, decided without any private image.

A codebook is made from images that anybody may see: the built-in synthetic sample, a folder the
operator names, or an earlier private release. The noise that protects an image grows with the
number of coordinates, so cells differ only in the few directions in which public patches vary
most; a random projection (Johnson & Lindenstrauss, 1984) keeps distances about as well but needs
more of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fedpatchcore.coreset.clusters import kmeans
from fedpatchcore.devices.faiss import faiss_for
from fedpatchcore.errors import PrivacyError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.files import read_arrays, read_header, to_bytes, write_atomically

__all__ = ["ANY", "ARRAYS", "Codebook", "public_codebook"]

KMEANS_ITERATIONS = 20
POINTS_A_CELL = 2000  # more public patches than that add nothing to a cell's place
SPREAD_QUANTILE = 0.99
SMALLEST_RADIUS = 1e-30  # squares of less leave the range of numbers
ANY = "*"  # the codebook of sections that have none of their own yet
ARRAYS = ("centre", "basis", "cells", "spread")


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")
    fingerprint: Fingerprint
    radius: float
    source: str


@dataclass(frozen=True)
class Codebook:
    """Cells in a low-dimensional slice of feature space.

    Attributes:
        centre: float32 ``[D]``, the origin of the slice.
        basis: float32 ``[D, d]``, orthonormal columns.
        cells: float32 ``[k, d]``, cell centres in the slice.
        spread: float32 ``[d]``, standard deviation of public patches along each column.
        radius: residuals inside a cell are clipped to this L2 length.
        source: what it was made from, for people.
    """

    centre: np.ndarray
    basis: np.ndarray
    cells: np.ndarray
    spread: np.ndarray
    radius: float
    source: str = ""

    def __post_init__(self) -> None:
        shapes_fit = (
            self.centre.ndim == 1
            and self.basis.ndim == self.cells.ndim == 2
            and self.basis.shape == (len(self.centre), self.cells.shape[1])
            and self.spread.shape == (self.basis.shape[1],)
            and self.basis.shape[1] <= len(self.centre)  # orthonormal columns; else d × d is vast
            and len(self.cells)
        )
        if not shapes_fit:
            shapes = ", ".join(f"{name} {getattr(self, name).shape}" for name in ARRAYS)
            raise PrivacyError(f"a codebook whose arrays do not fit each other: {shapes}")
        for name in ARRAYS:
            one = getattr(self, name)
            if one.dtype != np.float32 or not np.isfinite(one).all():
                raise PrivacyError(f"codebook: {name} must hold finite float32 values")
        basis = self.basis.astype(np.float64)
        if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-3):
            raise PrivacyError("codebook: the columns of its basis are not orthonormal")
        if not (np.isfinite(self.radius) and self.radius > SMALLEST_RADIUS):
            raise PrivacyError(f"codebook: a radius of {self.radius}")

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def digest(self) -> str:
        """sha256 of everything that decides what a release over these cells means."""
        shape = (float(self.radius), self.cells.shape, self.basis.shape)
        told = hashlib.sha256(repr(shape).encode())
        for name in ("centre", "basis", "cells"):
            told.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return told.hexdigest()

    def project(self, patches: np.ndarray) -> np.ndarray:
        """Patches ``[N, D]`` → coordinates in the slice, float64 ``[N, d]``.

        In float64, where nothing that began as float32 can overflow.
        """
        return (patches.astype(np.float64) - self.centre) @ self.basis.astype(np.float64)

    def lift(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates ``[N, d]`` → rows in feature space, float32 ``[N, D]``."""
        return (self.centre + coordinates @ self.basis.T).astype(np.float32)

    def assign(self, coordinates: np.ndarray) -> np.ndarray:
        """The nearest cell of each point ``[N, d]``, int64 ``[N]``."""
        index = faiss_for("a codebook").IndexFlatL2(self.cells.shape[1])
        index.add(self.cells)
        return index.search(np.ascontiguousarray(coordinates, dtype=np.float32), 1)[1][:, 0]

    def with_cells(self, cells: np.ndarray, *, source: str) -> Codebook:
        """The same slice, cut otherwise."""
        return replace(self, cells=np.ascontiguousarray(cells, dtype=np.float32), source=source)

    def refined(self, coordinates: np.ndarray, mass: np.ndarray, *, seed: int) -> Codebook:
        """As many cells again, placed where an earlier *private release* saw patches.

        Post-processing of that release: k-means over points scattered about its centroids
        ``[m, d]`` in proportion to their mass, half as wide as public patches vary.
        """
        rng = np.random.default_rng(seed)
        share = np.maximum(mass, 0) + 1e-12
        chosen = rng.choice(len(coordinates), 256 * len(self), p=share / share.sum())
        scatter = rng.standard_normal((len(chosen), self.cells.shape[1])) * self.spread / 2
        points = (coordinates[chosen] + scatter).astype(np.float32)
        return self.with_cells(_kmeans(points, len(self), seed), source="an earlier release")

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def save(self, path: Path, fingerprint: Fingerprint) -> None:
        """Write a ``.safetensors`` file. Raises PrivacyError if the place cannot be written."""
        header = _Header(fingerprint=fingerprint, radius=self.radius, source=self.source)
        try:
            write_atomically(path, to_bytes(self.arrays(), header.model_dump(mode="json")))
        except OSError as error:
            raise PrivacyError(f"cannot write codebook {path}: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> tuple[Codebook, Fingerprint]:
        """A codebook and whose features it cuts. Raises PrivacyError on a file that is not one."""
        text, arrays = read_arrays(path, kind="codebook", error=PrivacyError)
        header = read_header(text, _Header, where=f"codebook file {path}", error=PrivacyError)
        return cls.of(arrays, header.radius, header.source), header.fingerprint

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], radius: float, source: str) -> Codebook:
        """From arrays by name. Raises PrivacyError if one is missing or of another shape."""
        if missing := set(ARRAYS) - set(arrays):
            raise PrivacyError(f"a codebook without {', '.join(sorted(missing))}")
        return cls(*(arrays[name] for name in ARRAYS), radius=float(radius), source=source)


def public_codebook(
    patches: np.ndarray, cells: int, dimensions: int, *, seed: int, source: str
) -> Codebook:
    """A codebook of public patches float32 ``[N, D]``.

    Principal directions of the patches span the slice, k-means cuts it. The radius is the
    distance from the centre, within the slice, that 99% of public patches do not exceed:
    a product nobody has seen may lie anywhere in that ball.

    Raises:
        PrivacyError: fewer patches than cells, or more dimensions than features.
    """
    if dimensions > patches.shape[1]:
        raise PrivacyError(
            f"dp-projection={dimensions} is above the {patches.shape[1]} dimensions of the features"
        )
    if len(patches) < cells:
        raise PrivacyError(
            f"{len(patches):,} public patches are too few for dp-cells={cells}: name more images"
        )
    centre = patches.mean(0, dtype=np.float64).astype(np.float32)
    rng = np.random.default_rng(seed)
    some = patches[rng.permutation(len(patches))[: POINTS_A_CELL * max(cells, 64)]] - centre
    variances, directions = np.linalg.eigh(np.cov(some.T, dtype=np.float64))
    order = np.argsort(variances)[::-1][:dimensions]
    basis = np.ascontiguousarray(directions[:, order], dtype=np.float32)
    basis *= np.where(basis[np.abs(basis).argmax(0), range(dimensions)] < 0, -1, 1)  # one sign
    points = np.ascontiguousarray(some @ basis)
    radius = float(np.quantile(np.linalg.norm(points, axis=1), SPREAD_QUANTILE))
    spread = np.sqrt(np.maximum(variances[order], 0)).astype(np.float32)
    return Codebook(centre, basis, _kmeans(points, cells, seed), spread, radius, source)


def _kmeans(points: np.ndarray, cells: int, seed: int) -> np.ndarray:
    told = {"iterations": KMEANS_ITERATIONS, "seed": seed, "points_a_centroid": POINTS_A_CELL}
    return kmeans(points, cells, **told).centroids.copy()
