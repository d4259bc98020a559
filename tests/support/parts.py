"""Pictures of parts that look alike, and what happens to a picture of one: moved, saved anew."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

__all__ = ["altered", "part"]


def part(seed: int, *, size: int = 256) -> Image.Image:
    """A disc with a hole in its middle, always in the same place; scratches are the part's own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(x, y)
    grey = np.where((radius < 0.42) & (radius > 0.12), 170.0, 60.0)
    for _ in range(40):
        at, angle = rng.uniform(-0.4, 0.4, 2), rng.uniform(0, np.pi)
        along = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
        across = (y - at[1]) * np.cos(angle) - (x - at[0]) * np.sin(angle)
        grey += rng.uniform(-50, 50) * np.exp(-((along / 0.05) ** 2) - (across / 0.01) ** 2)
    grey += rng.normal(0, 2, grey.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


def altered(image: Image.Image, how: str) -> Image.Image:
    """The picture after what ``how`` names."""
    pixels = np.asarray(image)
    if how.startswith("jpeg"):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(how[4:]))
        return Image.open(buffer)
    if how.startswith("moved"):
        return Image.fromarray(np.roll(pixels, int(how[5:]), axis=1))
    if how == "brighter":
        return Image.fromarray((pixels.astype(int) + 6).clip(0, 255).astype(np.uint8))
    if how == "smaller":
        return image.resize((image.width // 2, image.height // 2))
    assert how == "turned"
    return image.rotate(20)
