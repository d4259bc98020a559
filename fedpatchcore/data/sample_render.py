"""Procedural scenes of three industrial products, as reflectance before lighting.

A scene is ``[256, 256, 3]`` float32, roughly in [0, 1], drawn with one generator for the part
(pose, texture) and another for its defect, so that a part can be drawn with and without one.
Everything is numpy with explicit generators; equal keys give equal arrays.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["COLS", "DEFECTS", "LOTS", "ROWS", "SIZE", "draw_scene", "noise_window"]

SIZE = 256  # pixels a side of every picture
LOTS = 5  # suppliers of material, per product

DEFECTS: dict[str, tuple[str, ...]] = {
    "washer": ("scratch", "stain", "chip", "missing_hole"),
    "fabric": ("stain", "hole", "broken_yarn", "slub"),
    "board": ("scratch", "missing_part", "misplaced", "solder_bridge"),
}

ROWS, COLS = np.meshgrid(
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    indexing="ij",
)


@lru_cache(maxsize=8)
def _noise_tile(smoothing: float, stretch: float = 1.0) -> np.ndarray:
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
    window = _noise_tile(smoothing, stretch)[y : y + SIZE, x : x + SIZE]
    return window[:: 1 if rng.random() < 0.5 else -1, :: 1 if rng.random() < 0.5 else -1]


def _soft(distance: np.ndarray) -> np.ndarray:
    """Antialiased inside of a signed distance in pixels (positive inside)."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def _blend(base: np.ndarray, colour, alpha: np.ndarray) -> None:
    """Paint ``colour`` over ``base [H, W, 3]`` with opacity ``alpha [H, W]``, in place."""
    base += alpha[..., None] * (np.asarray(colour, np.float32) - base)


# ---------------------------------------------------------------- defects shared by products


def _scratch(scene: np.ndarray, rng: np.random.Generator, centre, depth: float) -> None:
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
    alpha = _soft(depth * rng.uniform(1.0, 2.2) - np.sqrt(near)) * rng.uniform(0.6, 1.0) * depth
    colour = (0.95, 0.95, 0.93) if rng.random() < 0.6 else (0.10, 0.10, 0.10)
    _blend(scene[y0:y1, x0:x1], colour, alpha.astype(np.float32))


def _blob(rng: np.random.Generator, centre, radius: float, rough: float = 0.25) -> np.ndarray:
    """Signed distance (positive inside) of an irregular round spot, [256, 256]."""
    dy, dx = ROWS + (SIZE - 1) / 2 - centre[0], COLS + (SIZE - 1) / 2 - centre[1]
    squeeze = rng.uniform(0.7, 1.0)
    distance = np.sqrt(dy * dy + (dx / squeeze) ** 2)
    return radius * (1 + rough * noise_window(rng, 4.0)) - distance


def _stain(scene: np.ndarray, rng: np.random.Generator, centre, colour, depth: float) -> None:
    """A translucent spot with a soft, irregular edge."""
    radius = rng.uniform(14, 24)
    alpha = np.clip(_blob(rng, centre, radius) / 4.0, 0, 1) * depth * rng.uniform(0.5, 0.85)
    _blend(scene, colour, alpha)


def _polar(rng: np.random.Generator, inner: float, outer: float) -> tuple[float, float]:
    """A random (row, column) in a ring around the picture's centre."""
    radius, phi = rng.uniform(inner, outer), rng.uniform(0, 2 * np.pi)
    return (SIZE / 2 + radius * math.sin(phi), SIZE / 2 + radius * math.cos(phi))


# ---------------------------------------------------------------- washer: machined metal disc

_WASHER_LOTS = (  # finish, reflectance RGB, depth of the finish
    ("turned", (0.62, 0.63, 0.65), 0.045),
    ("brushed", (0.66, 0.65, 0.63), 0.050),
    ("blasted", (0.54, 0.55, 0.57), 0.045),
    ("ground", (0.60, 0.60, 0.58), 0.055),
    ("turned", (0.64, 0.58, 0.46), 0.070),
)


def _washer(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """A disc with a bore and six bolt holes on a rubber mat."""
    finish, colour, depth = _WASHER_LOTS[lot]
    down, right = rng.uniform(-2, 2), rng.uniform(-2, 2)
    scale, turn = rng.uniform(0.99, 1.01), rng.uniform(-0.03, 0.03)
    y, x = (ROWS - down) / scale, (COLS - right) / scale
    r, phi = np.sqrt(y * y + x * x), np.arctan2(y, x)
    highlight = np.cos(phi - light)

    if finish == "turned":
        wobble = _noise_tile(1.0)[int(rng.integers(512))]
        step = 2.2 if depth < 0.06 else 1.2
        texture = 0.8 * wobble[(r * step).astype(np.int32)] + 0.35 * noise_window(rng, 0.6)
        sheen = highlight**8 * 0.16
    elif finish == "brushed":
        texture = noise_window(rng, 8.0, 0.06) + 0.25 * noise_window(rng, 0.6)
        sheen = 0.04 * highlight
    elif finish == "ground":
        ray = _noise_tile(1.0)[int(rng.integers(512))]
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

    alpha = _soft((96 - r) * scale) * _soft((r - 31) * scale)
    lost = int(defect_rng.integers(6)) if defect == "missing_hole" else -1
    for hole in range(6):
        angle = turn + hole * np.pi / 3
        if hole != lost:
            away = np.sqrt((y - 64 * math.sin(angle)) ** 2 + (x - 64 * math.cos(angle)) ** 2)
            alpha *= _soft((away - 9) * scale)
    if defect == "chip":
        rim = defect_rng.uniform(0, 2 * np.pi)
        at = (
            SIZE / 2 + down + 96 * scale * math.sin(rim),
            SIZE / 2 + right + 96 * scale * math.cos(rim),
        )
        alpha *= 1 - _soft(_blob(defect_rng, at, defect_rng.uniform(6.0, 11.0), 0.15))
    if defect == "scratch":
        _scratch(disc, defect_rng, _polar(defect_rng, 42, 82), depth=0.6)
    elif defect == "stain":
        _stain(disc, defect_rng, _polar(defect_rng, 42, 82), (0.26, 0.17, 0.10), 0.75)
    scene += alpha[..., None] * (disc - scene)
    return scene


# ---------------------------------------------------------------- fabric: woven cloth

_FABRIC_LOTS = (  # weave, yarn spacing in pixels, warp RGB, weft RGB
    ("plain", 8.0, (0.62, 0.57, 0.48), (0.55, 0.50, 0.42)),
    ("twill", 7.0, (0.30, 0.36, 0.50), (0.58, 0.58, 0.56)),
    ("basket", 7.5, (0.60, 0.56, 0.50), (0.50, 0.47, 0.43)),
    ("twill", 8.5, (0.52, 0.44, 0.36), (0.60, 0.54, 0.46)),
    ("plain", 6.5, (0.42, 0.46, 0.44), (0.55, 0.58, 0.55)),
)


def _fabric(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """Cloth filling the picture; threads run roughly along the axes."""
    weave, spacing, warp_colour, weft_colour = _FABRIC_LOTS[lot]
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
        _blend(cloth, np.asarray(warp_colour) * 1.05, body.astype(np.float32) * 0.9)
    elif defect == "hole":
        at = defect_rng.uniform(30, SIZE - 30, 2)
        alpha = _soft(_blob(defect_rng, at, defect_rng.uniform(4.5, 8.0), 0.3))
        _blend(cloth, (0.07, 0.07, 0.07), alpha * 0.9)
    elif defect == "stain":
        _stain(cloth, defect_rng, defect_rng.uniform(30, SIZE - 30, 2), (0.20, 0.16, 0.12), 0.4)
    return cloth


# ---------------------------------------------------------------- board: populated circuit board

_BOARD_LOTS = (  # solder mask RGB, IC body RGB, silkscreen RGB
    ((0.08, 0.34, 0.18), (0.13, 0.13, 0.14), (0.85, 0.86, 0.82)),
    ((0.10, 0.20, 0.42), (0.16, 0.15, 0.15), (0.86, 0.86, 0.86)),
    ((0.17, 0.30, 0.12), (0.22, 0.22, 0.23), (0.80, 0.78, 0.60)),
    ((0.40, 0.11, 0.12), (0.12, 0.12, 0.13), (0.86, 0.86, 0.84)),
    ((0.12, 0.13, 0.14), (0.20, 0.20, 0.21), (0.78, 0.78, 0.76)),
)
_TIN, _GOLD, _BEIGE = (0.72, 0.73, 0.74), (0.78, 0.64, 0.30), (0.66, 0.56, 0.42)
_PAD = (0.62, 0.57, 0.46)  # bare, without the part's tinned end

# Parts on the drawing of 512x512 half-pixels: (kind, row, column, height, width).
_CHIPS = (("ic", 96, 78, 150, 150), ("ic", 320, 270, 110, 160))
_PASSIVES = (
    *(("resistor", 84 + 60 * i, 306, 30, 72) for i in range(3)),
    *(("capacitor", 84 + 60 * i, 408, 30, 64) for i in range(3)),
    *(("resistor", 330, 70 + 60 * i, 72, 30) for i in range(3)),
)


def _fill(drawing: np.ndarray, row: float, col: float, height: float, width: float, colour):
    """Fill an axis-aligned rectangle; corners are rounded to half-pixels."""
    y, x = round(row), round(col)
    drawing[y : y + round(height), x : x + round(width)] = colour


def _part(drawing, part, colours, shade: float, shift=(0.0, 0.0)) -> list[tuple[float, float]]:
    """Draw one part; returns the (row, column) of its pins, for solder bridges."""
    kind, row, col, height, width = part
    row, col = row + shift[0], col + shift[1]
    pins = []
    if kind == "ic":
        for i in range(int(width) // 24):
            for y in (row - 20, row + height):
                _fill(drawing, y, col + 8 + 24 * i, 20, 12, _TIN)
                pins.append((y, col + 8 + 24 * i))
        _fill(drawing, row, col, height, width, np.multiply(colours[1], shade))
        _fill(drawing, row + 10, col + 10, 12, 12, np.multiply(colours[1], 1.7))
        for i in range(2):  # marking
            y, x = row + height / 2 - 12 + 22 * i, col + 30
            _fill(drawing, y, x, 7, width - 62 - 20 * i, colours[2])
    else:
        body = (0.20, 0.18, 0.17) if kind == "resistor" else _BEIGE
        _fill(drawing, row, col, height, width, np.multiply(body, shade))
        cap = 14 if kind == "resistor" else 17
        if width > height:
            _fill(drawing, row, col, height, cap, _TIN)
            _fill(drawing, row, col + width - cap, height, cap, _TIN)
        else:
            _fill(drawing, row, col, cap, width, _TIN)
            _fill(drawing, row + height - cap, col, cap, width, _TIN)
    return pins


@lru_cache(maxsize=LOTS)
def _bare_board(lot: int) -> np.ndarray:
    """Solder mask, traces and pads of a lot, [512, 512, 3] float32."""
    colours = _BOARD_LOTS[lot]
    drawing = np.empty((512, 512, 3), np.float32)
    drawing[:] = colours[0]
    trace = np.clip(np.multiply(colours[0], 1.35) + 0.02, 0, 1)
    for i in range(5):
        _fill(drawing, 270 + 10 * i, 0, 4, 512, trace)
        _fill(drawing, 0, 254 + 10 * i, 270, 4, trace)
    for _, row, col, height, width in _PASSIVES:  # silkscreen frame and pads
        _fill(drawing, row - 10, col - 10, height + 20, width + 20, colours[2])
        _fill(drawing, row - 6, col - 6, height + 12, width + 12, colours[0])
        if width > height:
            _fill(drawing, row, col - 3, height, 17, _PAD)
            _fill(drawing, row, col + width - 14, height, 17, _PAD)
        else:
            _fill(drawing, row - 3, col, 17, width, _PAD)
            _fill(drawing, row + height - 14, col, 17, width, _PAD)
    rows, cols = np.mgrid[0:512, 0:512]
    for row, col in ((36, 36), (36, 476), (476, 36), (476, 476)):  # mounting holes
        away = (rows - row) ** 2 + (cols - col) ** 2
        drawing[away < 24**2] = _GOLD
        drawing[away < 15**2] = 0.1
    return drawing


def _board(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """A detail of a circuit board with chips and passives, drawn at twice the resolution."""
    colours = _BOARD_LOTS[lot]
    drawing = _bare_board(lot).copy()
    parts = _CHIPS + _PASSIVES
    shades = rng.uniform(0.93, 1.07, len(parts))
    shifts = rng.uniform(-0.6, 0.6, (len(parts), 2))
    chosen = int(defect_rng.integers(len(_CHIPS), len(parts)))
    pins = []
    for index, part in enumerate(parts):
        shift = shifts[index]
        if index == chosen and defect == "missing_part":
            continue
        if index == chosen and defect == "misplaced":
            along = defect_rng.uniform(6, 14) * (1 if defect_rng.random() < 0.5 else -1)
            shift = shift + (along, defect_rng.uniform(-8, 8))
        pins += _part(drawing, part, colours, shades[index], shift)
    if defect == "solder_bridge":
        row, col = pins[int(defect_rng.integers(len(pins)))]
        width = defect_rng.uniform(24, 40)
        _fill(drawing, row + defect_rng.uniform(-8, 4), col - 4, 16, width, _TIN)

    turn, down, right = rng.uniform(-0.006, 0.006), rng.uniform(-2, 2), rng.uniform(-2, 2)
    grid = np.arange(512, dtype=np.float32) - 255.5
    rows = math.cos(turn) * grid[:, None] - math.sin(turn) * grid[None, :] + 256 + down
    cols = math.sin(turn) * grid[:, None] + math.cos(turn) * grid[None, :] + 256 + right
    flat = np.clip(rows, 0, 511).astype(np.int32) * 512 + np.clip(cols, 0, 511).astype(np.int32)
    colour = drawing.reshape(-1, 3)
    scene = colour.take(flat[::2, ::2], axis=0) + colour.take(flat[1::2, 1::2], axis=0)
    scene *= 0.5
    scene *= (1 + 0.02 * noise_window(rng, 0.8) + 0.015 * noise_window(rng, 12.0))[..., None]
    if defect == "scratch":
        at = defect_rng.uniform(50, SIZE - 50, 2)
        _scratch(scene, defect_rng, at, depth=0.6)
    return scene


_SCENES = {"washer": _washer, "fabric": _fabric, "board": _board}


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
