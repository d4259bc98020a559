"""What every aggregation takes and gives, and how sizes are shared out.

A donor's rows may lie on disk: an aggregation that reads one donor at a time needs memory for
the bank and one site, however many sites there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.aggregation.memory import UNLIMITED, Memory
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import CoresetError
from fedpatchcore.files import StoredArray

__all__ = ["Donor", "MergeSettings", "Merged", "covering_radius", "quotas", "reaches", "union"]

BYTES_A_BLOCK = 1 << 24


@dataclass(frozen=True)
class Donor:
    """One site's rows of one section: float32 ``[k, D]`` in order of selection.

    ``first`` limits how many of them count; ``features`` may lie on disk.
    """

    site: str
    features: np.ndarray | StoredArray
    images: int
    first: int | None = None

    def __len__(self) -> int:
        return len(self.features) if self.first is None else min(self.first, len(self.features))

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that count."""
        return len(self) * self.features.shape[1] * 4

    def read(self) -> np.ndarray:
        """The rows that count, in memory."""
        if isinstance(self.features, StoredArray):
            return self.features.read(self.first)
        return self.features[: self.first]


@dataclass(frozen=True)
class MergeSettings:
    """Run-config values an aggregation may use."""

    size: int
    weighted: bool = False
    seed: int = 0
    device: str | None = None
    tolerated: int = 1
    single_source: str = "admit"
    memory: Memory = UNLIMITED


@dataclass(frozen=True)
class Merged:
    """Rows of the global bank.

    Attributes:
        features: float32 ``[M, D]``, ``M <= settings.size``.
        origin: int32 ``[M]``, position of the donor a row came from, -1 if merged.
        radius: every donated row that was not rejected lies this close to a bank row; of a robust
            aggregation, of all donors but ``tolerated``, which could put a row anywhere.
        flagged: rows resting on fewer sites than a median needs (coordinate_median only).
        rejected: donated rows without enough support (coordinate_median only).
        notes: what the round's record says beside this, such as how the bank was made where
            memory did not allow the usual way.
        reaches: the same by donor, in their order; only robust aggregations tell them.
    """

    features: np.ndarray
    origin: np.ndarray
    radius: float
    flagged: int = 0
    rejected: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)
    reaches: tuple[float, ...] = ()


def union(donors: Sequence[Donor]) -> tuple[np.ndarray, np.ndarray]:
    """All rows ``[N, D]`` and the donor of each, int32 ``[N]``. Raises CoresetError if none."""
    if not donors:
        raise CoresetError("nothing to aggregate: no site gave rows for this section")
    sizes = [len(d) for d in donors]
    rows = np.empty((sum(sizes), donors[0].features.shape[1]), np.float32)
    for end, donor in zip(np.cumsum(sizes), donors, strict=True):
        rows[end - len(donor) : end] = donor.read()
    return rows, np.repeat(np.arange(len(donors), dtype=np.int32), sizes)


def quotas(donors: Sequence[Donor], total: int, *, weighted: bool) -> list[int]:
    """Share ``total`` rows out over donors, equally or in proportion to their images.

    Largest remainders round the shares; what a donor cannot fill goes to the others by the
    same rule. No donor gets more than it has; each gets at least one row if there are
    enough, so that no site vanishes. The sum is min(total, rows available).
    """
    available = np.array([len(d) for d in donors])
    weights = np.array([d.images if weighted else 1.0 for d in donors], dtype=np.float64)
    total = int(min(total, available.sum()))
    given = np.minimum(available, 1) if total >= len(donors) else np.zeros_like(available)
    while (left := total - int(given.sum())) > 0:
        open_ = given < available
        ideal = np.where(open_, weights, 0.0) * total / weights[open_].sum()
        want = np.where(open_, np.maximum(ideal - given, 0.0), 0.0)
        if want.sum() <= 0:
            want = open_.astype(np.float64)
        share = want * left / want.sum()
        step = np.minimum(np.floor(share).astype(int), available - given)
        if not step.any():  # only remainders are left: largest first, ties to the first donor
            order = np.argsort(-np.where(open_, share, -1.0), kind="stable")
            step = np.zeros_like(given)
            step[order[:left]] = 1
            step = np.minimum(step, available - given)
        given = given + step
    return given.tolist()


def covering_radius(rows: np.ndarray, bank: np.ndarray) -> float:
    """Largest L2 distance of any row to its nearest bank row."""
    return _farthest(rows, bank, NearestNeighbours(bank)) if len(rows) else 0.0


def reaches(donors: Sequence[Donor], bank: np.ndarray) -> tuple[float, ...]:
    """`covering_radius` of each donor's rows, with one donor in memory at a time."""
    search = NearestNeighbours(bank)
    return tuple(_farthest(d.read(), bank, search) for d in donors)


def _farthest(rows: np.ndarray, bank: np.ndarray, search: NearestNeighbours) -> float:
    step = max(64, BYTES_A_BLOCK // (8 * rows.shape[1]))
    reach = 0.0
    for at in range(0, len(rows), step):
        block = rows[at : at + step]
        _, nearest = search.search(block)
        exact = np.linalg.norm(block.astype(np.float64) - bank[nearest[:, 0]], axis=1)
        reach = max(reach, float(exact.max()))
    return reach
