"""Rows to select from, friendly and hostile, and the selection that needs no thought.

Torch and numpy alone: `benchmarks/gpu.py` runs tests that use it on hosts that have no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np

from fedpatchcore.coreset import bounds, distances, greedy, rounds

__all__ = ["KINDS", "cloud", "small_blocks", "textbook"]

KINDS = ("gauss", "relu", "duplicates", "line", "clusters", "huge", "far")


def cloud(kind: str, n: int, rng: np.random.Generator, *, dimension: int = 0) -> np.ndarray:
    """Rows float64 ``[n, D]`` of one of `KINDS`, or "growing" or "one point".

    Args:
        dimension: D; 0: some dozen or fewer, as it suits the kind.
    """
    if kind == "gauss":
        return rng.normal(size=(n, dimension or 12))
    if kind == "relu":  # of features: many zeros, few directions
        wide = dimension or 40
        rank = min(12, wide // 8)
        return np.maximum(rng.normal(size=(n, rank)) @ rng.normal(size=(rank, wide)), 0)
    if kind == "duplicates":
        few = max(2, n // 10)
        return rng.normal(size=(few, dimension or 6))[rng.integers(few, size=n)]
    if kind == "line":
        return np.outer(rng.normal(size=n), np.ones(dimension or 4))
    if kind == "clusters":
        middles = rng.normal(size=(5, dimension or 8)) * 10
        return middles[rng.integers(5, size=n)] + rng.normal(size=(n, dimension or 8)) * 0.01
    if kind == "huge":
        x = rng.normal(size=(n, dimension or 6))
        x[rng.integers(n, size=3)] *= 1e6
        return x
    if kind == "far":
        return rng.normal(size=(n, dimension or 4)) + 1000
    if kind == "growing":  # each row farther than all before: the worst order for a stream
        wide = dimension or 3
        steps = np.outer(1.5 ** np.arange(n).clip(max=40), np.arange(wide, 0, -1) % 3 / 2)
        return steps + rng.normal(size=(n, wide))
    if kind == "one point":
        return np.ones((n, dimension or 3))
    raise AssertionError(kind)


def textbook(x: np.ndarray, size: int, first: int) -> tuple[list[int], float]:
    """Greedy k-center in float64: one distance vector, one argmax a pick."""
    x = x.astype(np.float64)
    distance = np.linalg.norm(x - x[first], axis=1)
    picked = [first]
    while len(picked) < size and distance.max() > 0:
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(x - x[picked[-1]], axis=1))
    return picked, float(distance.max())


@contextmanager
def small_blocks(*, by_rounds: bool) -> Iterator[None]:
    """A dozen active rows and tiny products, so that a few hundred rows need all of the code.

    ``by_rounds`` takes the accelerator's way, which runs on a CPU too.
    """
    sizes = {
        distances: {"ROWS_A_PRODUCT": 5, "CENTRES_A_PRODUCT": 7, "WORTH_ANOTHER_LOOK": 20},
        greedy: {"ACTIVE": 12, "_by_rounds": lambda device: by_rounds},
        rounds: {"ACTIVE": 12, "QUEUED": 5, "LEAST_BLOCK": 40, "MOST_BLOCK": 40},
        bounds: {"PAIRS": 6, "CENTRES": 3},
    }
    with ExitStack() as patches:
        for module, values in sizes.items():
            for name, value in values.items():
                patches.enter_context(patch.object(module, name, value))
        yield
