"""The fabric: woven cloth."""

import math

import numpy as np

from fedpatchcore.data.sample.damage import blob, stain
from fedpatchcore.data.sample.raster import COLS, ROWS, SIZE, blend, noise_window, soft

__all__ = ["draw_fabric"]

_LOTS = (  # weave, yarn spacing in pixels, warp RGB, weft RGB
    ("plain", 8.0, (0.62, 0.57, 0.48), (0.55, 0.50, 0.42)),
    ("twill", 7.0, (0.30, 0.36, 0.50), (0.58, 0.58, 0.56)),
    ("basket", 7.5, (0.60, 0.56, 0.50), (0.50, 0.47, 0.43)),
    ("twill", 8.5, (0.52, 0.44, 0.36), (0.60, 0.54, 0.46)),
    ("plain", 6.5, (0.42, 0.46, 0.44), (0.55, 0.58, 0.55)),
)


def draw_fabric(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """Cloth filling the picture; threads run roughly along the axes."""
    weave, spacing, warp_colour, weft_colour = _LOTS[lot]
    spacing *= rng.uniform(0.98, 1.02)
    turn, left, top = rng.uniform(-0.02, 0.02), rng.uniform(0, 64), rng.uniform(0, 64)
    drift = 0.06 * noise_window(rng, 24.0), 0.06 * noise_window(rng, 24.0)
    u = (math.cos(turn) * COLS + math.sin(turn) * ROWS) / spacing + left + 40 + drift[0]
    v = (math.cos(turn) * ROWS - math.sin(turn) * COLS) / spacing + top + 40 + drift[1]
    iu, iv = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    fu, fv = 2 * (u - iu) - 1, 2 * (v - iv) - 1
    if weave == "plain":
        over = (iu + iv) % 2 == 0
    elif weave == "twill":
        over = (iu + iv) % 4 < 2
    else:
        over = (iu // 2 + iv // 2) % 2 == 0

    warp_shade = 1 + 0.03 * rng.standard_normal(256).astype(np.float32)
    weft_shade = 1 + 0.03 * rng.standard_normal(256).astype(np.float32)
    middle = iu[SIZE // 2, SIZE // 2]
    if defect in ("broken_yarn", "slub"):
        yarn = int(middle + defect_rng.integers(-9, 10))
        start = float(iv.min()) + 32 * defect_rng.uniform(0.1, 0.5)
        span = defect_rng.uniform(8, 16)
        gone = (iu == yarn) & (v > start) & (v < start + span)
        if defect == "broken_yarn":
            over = over & ~gone
    warp = (1 - 0.55 * fu * fu) * (0.88 + 0.12 * (1 - fv * fv)) * warp_shade[iu % 256]
    weft = (1 - 0.55 * fv * fv) * (0.88 + 0.12 * (1 - fu * fu)) * weft_shade[iv % 256]
    fibre = 1 + 0.05 * noise_window(rng, 0.6) + 0.015 * noise_window(rng, 8.0)
    cloth = np.where(
        over[..., None],
        (warp * fibre)[..., None] * np.asarray(warp_colour, np.float32),
        (weft * fibre)[..., None] * np.asarray(weft_colour, np.float32),
    ).astype(np.float32)
    if defect == "slub":
        swell = 1 - ((v - start - span / 2) / (span / 2)) ** 2
        body = np.clip(swell, 0, 1) * np.clip(1.3 - np.abs(u - yarn - 0.5), 0, 1)
        blend(cloth, np.asarray(warp_colour) * 1.05, body.astype(np.float32) * 0.9)
    elif defect == "hole":
        at = defect_rng.uniform(30, SIZE - 30, 2)
        alpha = soft(blob(defect_rng, at, defect_rng.uniform(4.5, 8.0), 0.3))
        blend(cloth, (0.07, 0.07, 0.07), alpha * 0.9)
    elif defect == "stain":
        stain(cloth, defect_rng, defect_rng.uniform(30, SIZE - 30, 2), (0.20, 0.16, 0.12), 0.4)
    return cloth
