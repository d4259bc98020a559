"""What every aggregation takes and gives, and how sizes are shared out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import CoresetError
from fedpatchcore.search import NearestNeighbours

__all__ = ["Donor", "Merged", "Settings", "covering_radius", "quotas", "union"]


@dataclass(frozen=True)
class Donor:
    """One site's rows of one section: float32 ``[k, D]`` in order of selection."""

    site: str
    features: np.ndarray
    images: int


@dataclass(frozen=True)
class Settings:
    """Run-config values an aggregation may use."""

    size: int
    weighted: bool = False
    seed: int = 0
    device: str | None = None
    tolerated: int = 1
    single_source: str = "admit"


@dataclass(frozen=True)
class Merged:
    """Rows of the global bank.

    Attributes:
        features: float32 ``[M, D]``, ``M <= settings.size``.
        origin: int32 ``[M]``, position of the donor a row came from, -1 if merged.
        radius: every donated row that was not rejected lies this close to a bank row.
        flagged: rows resting on fewer sites than a median needs (coordinate_median only).
        rejected: donated rows without enough support (coordinate_median only).
    """

    features: np.ndarray
    origin: np.ndarray
    radius: float
    flagged: int = 0
    rejected: int = 0


def union(donors: Sequence[Donor]) -> tuple[np.ndarray, np.ndarray]:
    """All rows ``[N, D]`` and the donor of each, int32 ``[N]``. Raises CoresetError if none."""
    if not donors:
        raise CoresetError("nothing to aggregate: no site gave rows for this section")
    origin = np.repeat(np.arange(len(donors), dtype=np.int32), [len(d.features) for d in donors])
    return np.concatenate([d.features for d in donors]), origin


def quotas(donors: Sequence[Donor], total: int, *, weighted: bool) -> list[int]:
    """Share ``total`` rows out over donors, equally or in proportion to their images.

    Largest remainders round the shares; what a donor cannot fill goes to the others by the
    same rule. No donor gets more than it has; each gets at least one row if there are
    enough, so that no site vanishes. The sum is min(total, rows available).
    """
    available = np.array([len(d.features) for d in donors])
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
    if not len(rows):
        return 0.0
    nearest = NearestNeighbours(bank, gpu=False)
    _, at = nearest.search(rows)
    exact = np.linalg.norm(rows.astype(np.float64) - bank[at[:, 0]], axis=1)
    return float(exact.max())
