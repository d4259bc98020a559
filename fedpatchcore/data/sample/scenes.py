"""Procedural scenes of three industrial products, as reflectance before lighting.

A scene is ``[256, 256, 3]`` float32, roughly in [0, 1], drawn with one generator for the part
(pose, texture) and another for its defect, so that a part can be drawn with and without one.
Everything is numpy with explicit generators; equal keys give equal arrays.
"""

from collections.abc import Sequence

import numpy as np

from fedpatchcore.data.sample.board import draw_board
from fedpatchcore.data.sample.fabric import draw_fabric
from fedpatchcore.data.sample.washer import draw_washer

__all__ = ["DEFECTS", "LOTS", "PRODUCTS", "draw_scene"]

LOTS = 5  # suppliers of material, per product

DEFECTS: dict[str, tuple[str, ...]] = {
    "washer": ("scratch", "stain", "chip", "missing_hole"),
    "fabric": ("stain", "hole", "broken_yarn", "slub"),
    "board": ("scratch", "missing_part", "misplaced", "solder_bridge"),
}

PRODUCTS: tuple[str, ...] = tuple(DEFECTS)

_SCENES = {"washer": draw_washer, "fabric": draw_fabric, "board": draw_board}


def draw_scene(
    product: str, lot: int, light: float, key: Sequence[int], defect: str | None = None
) -> np.ndarray:
    """Reflectance [256, 256, 3] float32 of one part.

    ``lot`` (below :data:`LOTS`) is the supplier's material and ``light`` the direction of the
    lamp in radians, which decides where shadow and sheen fall. ``key`` seeds everything random;
    the same key with and without ``defect`` shows the same part in the same pose.
    """
    part, fault = (np.random.default_rng([*key, stream]) for stream in range(2))
    return _SCENES[product](part, lot, light, defect, fault).astype(np.float32)
