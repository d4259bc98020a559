"""A section of the memory bank: rows of one product, how distances to them are measured, checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedpatchcore.errors import BankError

__all__ = ["LENS", "MERGED", "SHARED", "Section", "measure_alike", "rows_by_site"]

SHORTEST = 1e-12  # and, inverted, longest amplitudes
LENS = (
    "metric",
    "amplitudes",
    "student",
    "row_metrics",
)  # arrays of a section that say how distances are measured
SHARED = "shared"  # the only section of a bank with sections="shared"
MERGED = -1  # origin of a row that is no single site's


@dataclass(frozen=True)
class Section:
    """Rows of one product.

    Attributes:
        features: float32 ``[M, D]``.
        origin: int32 ``[M]``, position in the bank's ``sites`` of the site a row came from,
            -1 for a row merged from several.
        radius: covering radius R: every coreset row that was aggregated lies within this L2
            distance of a bank row; a training patch of site i lies within r_i + R, r_i being
            the radius of the site's coreset. Of a robust aggregation it holds for all sites but f.
        covers: patches within this distance count as covered in later rounds: the larger of R
            and the lower median r_i. Of a robust aggregation f sites can raise neither beyond what
            an honest one has (`fedpatchcore.deviation`).
        images: training images behind the section, by site.
        flagged: rows that rest on fewer sites than the aggregation asks for.
        metric: float32 ``[D, r]``; a patch z is then ‖(z − row) @ metric‖ from a row. None, as in
            all banks without noisy sums, is plain L2 distance.
        amplitudes: float32 ``[2r]`` of dp="kernel"; the columns of the metric are waves then, and
            a patch's score is how far its `fedpatchcore.detection.scoring.waved` phases are from
            these.
        student: float32 ``[P]`` of method="student" (`fedpatchcore.detection.student.flattened`);
            the only row is the mean of the sites' patches then, and a patch's score is how far
            what the student tells of it is from what it is.
        row_metrics: float32 ``[M, D, r]`` of dp="moments" with regions: the metric of each row; a
            patch z is ‖(z − rowₖ) @ row_metricsₖ‖ from row k.
    """

    features: np.ndarray
    origin: np.ndarray
    radius: float
    covers: float = 0.0
    images: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    metric: np.ndarray | None = None
    amplitudes: np.ndarray | None = None
    student: np.ndarray | None = None
    row_metrics: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def digest(self) -> str:
        """SHA-256 of what distances are measured to and how."""
        found = hashlib.sha256(np.ascontiguousarray(self.features).tobytes())
        for name, one in self.lens.items():
            found.update(name.encode() + np.ascontiguousarray(one).tobytes())
        return found.hexdigest()

    @property
    def lens(self) -> dict[str, np.ndarray]:
        """The arrays that say how distances to the rows are measured, by name; plain L2: none."""
        return {name: one for name in LENS if (one := getattr(self, name)) is not None}

    @property
    def by_metric(self) -> bool:
        """Whether distances are by a metric, one for all rows or one each."""
        return self.metric is not None or self.row_metrics is not None

    def check(self, name: str, dimension: int, sites: int) -> None:
        """Raise BankError unless this can be section ``name`` of a bank of so many ``sites``."""
        rows, origin = self.features, self.origin
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != dimension:
            raise BankError(
                f"section '{name}' holds {rows.dtype} {rows.shape}, "
                f"expected float32 [M, {dimension}]"
            )
        if not len(rows):
            raise BankError(f"section '{name}' is empty")
        if origin.dtype != np.int32 or origin.shape != (len(rows),):
            raise BankError(f"section '{name}' has an origin that does not fit its rows")
        if origin.min() < MERGED or origin.max() >= sites:
            raise BankError(f"section '{name}' names a site that the bank does not list")
        if not np.isfinite(rows).all():
            raise BankError(f"section '{name}' holds NaN or infinite values")
        if self.metric is not None:
            _check_metric(self.metric, dimension, name)
        if self.amplitudes is not None:
            _check_amplitudes(self, name)
        if self.student is not None and (len(rows) != 1 or self.metric is not None):
            raise BankError(f"section '{name}' holds a student beside rows or a metric")
        if self.row_metrics is not None:
            _check_row_metrics(self, name)
        for radius in (self.radius, self.covers):
            if not (np.isfinite(radius) and radius >= 0):
                raise BankError(f"section '{name}' has an impossible radius {radius}")


def measure_alike(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two sections' `Section.lens` are equal."""
    return set(one) == set(other) and all(np.array_equal(one[n], other[n]) for n in one)


def rows_by_site(origin: np.ndarray, sites: tuple[str, ...]) -> dict[str, int]:
    """How many rows came from each site; merged rows count under ``(merged)``."""
    counts = {site: int((origin == at).sum()) for at, site in enumerate(sites)}
    if merged := int((origin == MERGED).sum()):
        counts["(merged)"] = merged
    return {site: n for site, n in counts.items() if n}


def _check_metric(metric: np.ndarray, dimension: int, name: str) -> None:
    if metric.dtype != np.float32 or metric.ndim != 2 or len(metric) != dimension:
        raise BankError(
            f"section '{name}' has a metric {metric.dtype} {metric.shape}, "
            f"expected float32 [{dimension}, r]"
        )
    if not metric.any() or not np.isfinite(metric).all():
        raise BankError(f"section '{name}' has a metric that measures nothing")


def _check_row_metrics(part: Section, name: str) -> None:
    found, (rows, dimension) = part.row_metrics, part.features.shape
    if set(part.lens) != {"row_metrics"}:
        raise BankError(f"section '{name}' holds a metric of each row beside another lens")
    if found.dtype != np.float32 or found.ndim != 3 or found.shape[:2] != (rows, dimension):
        raise BankError(
            f"section '{name}' has metrics {found.dtype} {found.shape} of its rows, expected "
            f"float32 [{rows}, {dimension}, r]"
        )
    if not found.any((1, 2)).all() or not np.isfinite(found).all():
        raise BankError(f"section '{name}' has a row's metric that measures nothing")


def _check_amplitudes(part: Section, name: str) -> None:
    found = part.amplitudes
    if len(part) != 1 or part.metric is None or found.shape != (2 * part.metric.shape[1],):
        raise BankError(f"section '{name}' has amplitudes of other waves than its own")
    length = float(np.linalg.norm(found))
    if found.dtype != np.float32 or not SHORTEST < length < 1 / SHORTEST:
        raise BankError(f"section '{name}' has amplitudes that measure nothing")
