"""The pixel grid of every picture, its smooth noise, and painting with soft edges."""

from functools import lru_cache

import numpy as np

__all__ = ["COLS", "ROWS", "SIZE", "blend", "noise_tile", "noise_window", "soft"]

SIZE = 256  # pixels a side of every picture

ROWS, COLS = np.meshgrid(
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    indexing="ij",
)


@lru_cache(maxsize=8)
def noise_tile(smoothing: float, stretch: float = 1.0) -> np.ndarray:
    """Periodic Gaussian noise [512, 512] float32, zero mean, unit deviation.

    ``smoothing`` is the correlation length in pixels along columns, ``stretch`` times that along
    rows.
    """
    white = np.random.default_rng(20240).standard_normal((512, 512))
    fy = np.fft.fftfreq(512)[:, None] * smoothing * stretch
    fx = np.fft.rfftfreq(512)[None, :] * smoothing
    field = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-20.0 * (fy**2 + fx**2)), s=(512, 512))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def noise_window(rng: np.random.Generator, smoothing: float, stretch: float = 1.0) -> np.ndarray:
    """A random window [256, 256] of the noise tile."""
    y, x = rng.integers(0, 256, 2)
    window = noise_tile(smoothing, stretch)[y : y + SIZE, x : x + SIZE]
    return window[:: 1 if rng.random() < 0.5 else -1, :: 1 if rng.random() < 0.5 else -1]


def soft(distance: np.ndarray) -> np.ndarray:
    """Antialiased inside of a signed distance in pixels (positive inside)."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def blend(base: np.ndarray, colour, alpha: np.ndarray) -> None:
    """Paint ``colour`` over ``base [H, W, 3]`` with opacity ``alpha [H, W]``, in place."""
    base += alpha[..., None] * (np.asarray(colour, np.float32) - base)
