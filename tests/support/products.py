"""Small pictures, and folders of them as a site has: striped parts, some with a bright square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["picture", "three_sites", "write_product"]


def picture(seed: int, *, size: int = 64, defect: bool = False) -> Image.Image:
    """A noisy grey stripe pattern; a defect is a bright square."""
    rng = np.random.default_rng(seed)
    stripes = 110 + 40 * np.sin(np.arange(size) / 3 + rng.uniform(0, 6))
    pixels = np.repeat(stripes[None], size, 0)[..., None] + rng.normal(0, 6, (size, size, 3))
    if defect:
        pixels[20:36, 24:40] = 250
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_product(
    root: Path, *, train: int = 6, good: int = 3, bad: int = 3, seed: int = 0, size: int = 64
) -> Path:
    """A product folder in MVTec-AD layout with masks; returns ``root``."""
    for at in range(train):
        _save(picture(seed + at, size=size), root / "train" / "good" / f"{at:03d}.png")
    for at in range(good):
        _save(picture(seed + 500 + at, size=size), root / "test" / "good" / f"{at:03d}.png")
    for at in range(bad):
        _save(
            picture(seed + 700 + at, size=size, defect=True),
            root / "test" / "square" / f"{at:03d}.png",
        )
        mask = np.zeros((size, size), dtype=np.uint8)
        mask[20:36, 24:40] = 255
        _save(Image.fromarray(mask), root / "ground_truth" / "square" / f"{at:03d}_mask.png")
    return root


def three_sites(root: Path) -> Path:
    """North, south and west make ``plate``, the last alone ``ring``; returns ``root``."""
    for at, name in enumerate(("north", "south", "west")):
        write_product(root / name / "plate", seed=1000 * at, train=8)
    write_product(root / "west" / "ring", seed=9000, train=8)
    return root


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
