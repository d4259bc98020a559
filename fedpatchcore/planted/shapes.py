"""Outlines of planted defects: weights in [0, 1] over a small window, 1 inside, 0 outside."""

from __future__ import annotations

import numpy as np

__all__ = ["blob", "chip", "ellipse", "scar"]

LOBES = 5  # waves round a blob's edge


def blob(rng: np.random.Generator, extent: int) -> np.ndarray:
    """A stain with a wavy, soft edge → float [extent, extent]."""
    y, x = _grid(extent)
    angle = np.arctan2(y, x)
    edge = np.ones_like(angle)
    for wave in range(2, LOBES + 1):
        edge += rng.uniform(0, 0.6) / wave * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    edge *= 0.85 / edge.max()
    depth = (edge - np.hypot(y / rng.uniform(0.6, 1), x)) * extent / 2
    return np.clip(depth / max(1.0, 0.15 * extent) + 0.5, 0, 1)


def ellipse(rng: np.random.Generator, extent: int) -> np.ndarray:
    """A soft patch, fading to nothing → float [extent, extent]."""
    y, x = _grid(extent)
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    depth = 1 - np.hypot(along, across / rng.uniform(0.55, 1))
    return np.clip(2.5 * depth, 0, 1)


def chip(rng: np.random.Generator, extent: int) -> np.ndarray:
    """A piece with five to eight straight sides and a sharp edge → float [extent, extent]."""
    y, x = _grid(extent)
    inside = np.full(y.shape, np.inf)
    angles = np.sort(rng.uniform(0, 2 * np.pi) + 2 * np.pi * _spread(rng, rng.integers(5, 9)))
    for angle in angles:
        reach = rng.uniform(0.55, 0.95)
        inside = np.minimum(inside, reach - (x * np.cos(angle) + y * np.sin(angle)))
    inside = np.minimum(inside, 0.98 - np.hypot(y, x))
    return np.clip(inside * extent / 2 + 0.5, 0, 1)


def scar(rng: np.random.Generator, extent: int) -> np.ndarray:
    """A thin, bent line from end to end of the window → float [H, W], the longer one ``extent``."""
    turn, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
    width = max(1.2, extent * rng.uniform(0.02, 0.05))
    t = np.linspace(-1, 1, 4 * extent + 1)
    along, across = t * (extent - width) / 2, bend * (1 - t * t) * extent / 2
    x = along * np.cos(turn) - across * np.sin(turn)
    y = along * np.sin(turn) + across * np.cos(turn)
    thick = width * np.clip(1.6 * (1 - np.abs(t)) + 0.35, 0, 1)  # pointed ends
    x0, y0 = x.min() - width, y.min() - width
    shape = (int(np.ceil(np.ptp(y) + 2 * width)), int(np.ceil(np.ptp(x) + 2 * width)))
    weight = np.zeros(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for at in range(0, len(t), 2):
        far = np.hypot(rows + y0 + 0.5 - y[at], columns + x0 + 0.5 - x[at])
        np.maximum(weight, np.clip(thick[at] / 2 + 0.5 - far, 0, 1), out=weight)
    return weight


def _grid(extent: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of pixel centres, from -1 to 1 at the window's edges."""
    one = (np.arange(extent) + 0.5) * 2 / extent - 1
    return np.meshgrid(one, one, indexing="ij")


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """As many values in [0, 1), about evenly far apart."""
    return (np.arange(count) + rng.uniform(0, 0.6, count)) / count
