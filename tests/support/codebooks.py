"""Codebooks of made-up patches, and images that try the bound of one image's contribution."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import strategies as st

from fedpatchcore.privacy.codebook import Codebook, public_codebook
from tests.support.strategies import SEEDS

__all__ = ["BOOK", "BOOKS", "D", "images", "no_image", "public", "squares"]

D = 5


def public(seed: int = 0, cells: int = 6, dimensions: int = 3, spread: float = 1.0) -> Codebook:
    rng = np.random.default_rng(seed)
    patches = (rng.normal(size=(400, D)) * spread + rng.normal(size=D)).astype(np.float32)
    return public_codebook(patches, cells, dimensions, seed=seed, source="test")


no_image = pytest.mark.parametrize(
    "x",
    [
        np.empty((0, D), np.float32),
        np.full((3, D), np.nan, np.float32),
        np.float32([[0, 0, np.inf, 0, 0]]),
        np.zeros(D, np.float32),
    ],
    ids=["empty", "NaN", "infinite", "vector"],
)


BOOK = public()
BOOKS = [public(seed, cells=1 + 2 * seed) for seed in range(4)]


@st.composite
def images(draw) -> np.ndarray:
    """One image's patches: ordinary, far away, enormous, all equal, all zero, or on one line."""
    rng = np.random.default_rng(draw(SEEDS))
    count = draw(st.integers(1, 30))
    x = rng.normal(size=(count, D))
    kind = draw(st.sampled_from(["usual", "far", "huge", "equal", "zero", "line", "one huge"]))
    if kind == "far":
        x = x * 10.0 ** draw(st.integers(1, 12))
    elif kind == "huge":
        x = rng.choice([-1, 1], size=x.shape) * 3.4e38
    elif kind == "equal":
        x = np.repeat(x[:1], count, 0)
    elif kind == "zero":
        x = np.zeros_like(x)
    elif kind == "line":
        x = np.outer(np.ones(count), BOOK.basis[:, 0]) * 10.0 ** draw(st.integers(0, 6))
    elif kind == "one huge":
        x[0] = 3.4e38
    return x.astype(np.float32)


def squares(steps: np.ndarray, step: float) -> Fraction:
    """‖steps · step‖₂² without any rounding."""
    return sum(int(v) ** 2 for v in steps.ravel()) * Fraction(step) ** 2
