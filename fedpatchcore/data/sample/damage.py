"""Defects that products share: scratches, stains and irregular spots.

Each draws from the generator of the defect, never from that of the part.
"""

import math

import numpy as np

from fedpatchcore.data.sample.raster import COLS, ROWS, SIZE, blend, noise_window, soft

__all__ = ["blob", "in_ring", "scratch", "stain"]


def scratch(scene: np.ndarray, rng: np.random.Generator, centre, depth: float) -> None:
    """A thin bent line through ``centre`` (row, column), brighter or darker than the surface."""
    length = rng.uniform(30, 70)
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25)
    t = np.linspace(-0.5, 0.5, 64)
    along, across = t * length, bend * length * (4 * t * t - 1)
    py = centre[0] + along * math.sin(angle) + across * math.cos(angle)
    px = centre[1] + along * math.cos(angle) - across * math.sin(angle)
    y0, x0 = max(int(py.min()) - 3, 0), max(int(px.min()) - 3, 0)
    y1, x1 = min(int(py.max()) + 4, SIZE), min(int(px.max()) + 4, SIZE)
    rows, cols = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    near = np.min((rows[..., None] - py) ** 2 + (cols[..., None] - px) ** 2, axis=-1)
    alpha = soft(depth * rng.uniform(1.0, 2.2) - np.sqrt(near)) * rng.uniform(0.6, 1.0) * depth
    colour = (0.95, 0.95, 0.93) if rng.random() < 0.6 else (0.10, 0.10, 0.10)
    blend(scene[y0:y1, x0:x1], colour, alpha.astype(np.float32))


def blob(rng: np.random.Generator, centre, radius: float, rough: float = 0.25) -> np.ndarray:
    """Signed distance (positive inside) of an irregular round spot, [256, 256]."""
    dy, dx = ROWS + (SIZE - 1) / 2 - centre[0], COLS + (SIZE - 1) / 2 - centre[1]
    squeeze = rng.uniform(0.7, 1.0)
    distance = np.sqrt(dy * dy + (dx / squeeze) ** 2)
    return radius * (1 + rough * noise_window(rng, 4.0)) - distance


def stain(scene: np.ndarray, rng: np.random.Generator, centre, colour, depth: float) -> None:
    """A translucent spot with a soft, irregular edge."""
    radius = rng.uniform(14, 24)
    alpha = np.clip(blob(rng, centre, radius) / 4.0, 0, 1) * depth * rng.uniform(0.5, 0.85)
    blend(scene, colour, alpha)


def in_ring(rng: np.random.Generator, inner: float, outer: float) -> tuple[float, float]:
    """A random (row, column) in a ring around the picture's centre."""
    radius, phi = rng.uniform(inner, outer), rng.uniform(0, 2 * np.pi)
    return (SIZE / 2 + radius * math.sin(phi), SIZE / 2 + radius * math.cos(phi))
