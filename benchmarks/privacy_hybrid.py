"""What a site has beside a private bank: its own bank, and the hybrid of both on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import patches
from privacy_banks import SITES, Halves, Judge, sites_of, spread_of

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.features.extraction import Extractor

LOCAL = 1000  # rows of a site's own bank


@dataclass(frozen=True)
class Local:
    """A site's own bank: distances of the test patches, and of its images that it does not hold."""

    distances: np.ndarray
    held: np.ndarray
    features: np.ndarray

    def with_private(self, judge: Judge, tests: np.ndarray, row: np.ndarray, metric: np.ndarray):
        """Image scores of both banks on one scale, by its held-out images."""
        own, given = self.scale(self.held), self.scale(spread_of(self.features, row, metric))
        return judge.scores(np.minimum(own(self.distances), given(tests)))

    def scale(self, held: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        middle, most = np.median(held), np.quantile(held.max(1), 0.95)
        return lambda distances: (distances - middle) / (most - middle)


@dataclass(frozen=True)
class Without:
    """What is known without ε: image scores by the open bank, and each site's own bank."""

    open: np.ndarray
    local: Sequence[Local]


def beside(
    judge: Halves, without: Without, distances: np.ndarray, draw: tuple, scores: np.ndarray
) -> dict[str, Any]:
    """The hybrid, against each site's own bank, and the difference to the open bank."""
    alone = [judge.half(judge.scores(one.distances), False) for one in without.local]
    both = [
        judge.half(one.with_private(judge, distances, *draw[:2]), False) for one in without.local
    ]
    return {
        "hybrid": float(np.mean(both)),
        "hybrid − local, worst": float(np.min(np.array(both) - alone)),
        "− open bank": judge.apart(scores, without.open),
    }


def locals_of(
    name: str, tool: Extractor, train: Sequence, judge: Judge
) -> tuple[list[Local], list]:
    """Each site's own bank, of all its images but every fifth; and the coresets of all images."""
    site, banks, coresets = sites_of(name, train), [], []
    for at in range(SITES):
        mine = [path for path, number in zip(train, site, strict=True) if number == at]
        x = patches(tool, mine).reshape(len(mine), -1, judge.queries.shape[-1])
        held = np.arange(len(mine)) % 5 == 4
        taught = x[~held].reshape(-1, x.shape[-1])
        rows = taught[greedy_k_center(taught, LOCAL).indices]
        out = NearestNeighbours(rows).search(x[held].reshape(-1, x.shape[-1]))[0][:, 0]
        own = judge.distances(rows)
        banks.append(Local(own, out.reshape(held.sum(), -1), x[held]))
        every = x.reshape(-1, x.shape[-1])
        coresets.append(every[greedy_k_center(every, LOCAL).indices])
    return banks, coresets
