"""The washer: a machined metal disc on a rubber mat."""

import math

import numpy as np

from fedpatchcore.data.sample.damage import blob, in_ring, scratch, stain
from fedpatchcore.data.sample.raster import COLS, ROWS, SIZE, noise_tile, noise_window, soft

__all__ = ["draw_washer"]

_LOTS = (  # finish, reflectance RGB, depth of the finish
    ("turned", (0.62, 0.63, 0.65), 0.045),
    ("brushed", (0.66, 0.65, 0.63), 0.050),
    ("blasted", (0.54, 0.55, 0.57), 0.045),
    ("ground", (0.60, 0.60, 0.58), 0.055),
    ("turned", (0.64, 0.58, 0.46), 0.070),
)


def draw_washer(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """A disc with a bore and six bolt holes on a rubber mat."""
    finish, colour, depth = _LOTS[lot]
    down, right = rng.uniform(-2, 2), rng.uniform(-2, 2)
    scale, turn = rng.uniform(0.99, 1.01), rng.uniform(-0.03, 0.03)
    y, x = (ROWS - down) / scale, (COLS - right) / scale
    r, phi = np.sqrt(y * y + x * x), np.arctan2(y, x)
    highlight = np.cos(phi - light)

    if finish == "turned":
        wobble = noise_tile(1.0)[int(rng.integers(512))]
        step = 2.2 if depth < 0.06 else 1.2
        texture = 0.8 * wobble[(r * step).astype(np.int32)] + 0.35 * noise_window(rng, 0.6)
        sheen = highlight**8 * 0.16
    elif finish == "brushed":
        texture = noise_window(rng, 8.0, 0.06) + 0.25 * noise_window(rng, 0.6)
        sheen = 0.04 * highlight
    elif finish == "ground":
        ray = noise_tile(1.0)[int(rng.integers(512))]
        texture = ray[((phi + np.pi) * 81.4).astype(np.int32) % 512] + 0.3 * noise_window(rng, 0.6)
        sheen = (1 - highlight**2) ** 3 * 0.10
    else:
        texture = noise_window(rng, 0.8)
        sheen = 0.05 * highlight
    metal = 1.0 + depth * texture / 0.6 + sheen + 0.02 * noise_window(rng, 12.0)
    chamfer = np.exp(-((r - 92) ** 2) / 4.0) + np.exp(-((r - 34) ** 2) / 4.0)
    metal += chamfer * 0.30 * np.where(r > 60, highlight, -highlight)
    disc = np.asarray(colour, np.float32) * metal[..., None]

    # Mat with the disc's soft shadow on the side away from the lamp.
    mat = 0.16 + 0.012 * noise_window(rng, 0.8) + 0.004 * noise_window(rng, 8.0)
    sy, sx = y + 7 * math.sin(light), x + 7 * math.cos(light)
    mat *= 1 - 0.55 * np.clip((101 - np.sqrt(sy * sy + sx * sx)) / 8, 0, 1)
    scene = np.repeat(mat[..., None], 3, axis=-1)

    alpha = soft((96 - r) * scale) * soft((r - 31) * scale)
    lost = int(defect_rng.integers(6)) if defect == "missing_hole" else -1
    for hole in range(6):
        angle = turn + hole * np.pi / 3
        if hole != lost:
            away = np.sqrt((y - 64 * math.sin(angle)) ** 2 + (x - 64 * math.cos(angle)) ** 2)
            alpha *= soft((away - 9) * scale)
    if defect == "chip":
        rim = defect_rng.uniform(0, 2 * np.pi)
        at = (
            SIZE / 2 + down + 96 * scale * math.sin(rim),
            SIZE / 2 + right + 96 * scale * math.cos(rim),
        )
        alpha *= 1 - soft(blob(defect_rng, at, defect_rng.uniform(6.0, 11.0), 0.15))
    if defect == "scratch":
        scratch(disc, defect_rng, in_ring(defect_rng, 42, 82), depth=0.6)
    elif defect == "stain":
        stain(disc, defect_rng, in_ring(defect_rng, 42, 82), (0.26, 0.17, 0.10), 0.75)
    scene += alpha[..., None] * (disc - scene)
    return scene
