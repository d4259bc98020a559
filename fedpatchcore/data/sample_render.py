"""Procedural pictures of three industrial products under a lamp.

Each product is a *scene*: reflectance ``[256, 256, 3]`` float32 in [0, 1], drawn from its own
generator (pose, texture), a *lot* (which supplier's material) and, if wanted, one defect drawn
from a second generator. :func:`render` then photographs the scene: shading by the lamp, blur,
sensor noise, 8-bit values. The mask of a defect is, by construction, where the scene with the
defect differs from the same scene without it.

Everything is numpy with explicit generators; equal generators give equal bytes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["DEFECTS", "LAMPS", "LOTS", "SIZE", "Lamp", "render"]

SIZE = 256  # pixels a side of every picture
LOTS = 5  # suppliers of material, per product
_MASK_THRESHOLD = 0.02  # reflectance change that counts as defect

_ROWS, _COLS = np.meshgrid(
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2,
    indexing="ij",
)


@dataclass(frozen=True)
class Lamp:
    """Lighting and camera of one station. Angles in radians, lengths in pixels."""

    angle: float  # direction the light comes from, in the image plane
    gradient: float  # relative brightness change from centre to the lit edge
    gain: float
    tint: tuple[float, float, float]  # colour of the light, RGB
    spot: float  # strength of the bright spot towards the lamp
    blur: float  # weight of the neighbours in the camera's 3x3 kernel, 0..1/3 per axis
    noise: float  # standard deviation of the sensor noise, 8-bit counts


LAMPS: tuple[Lamp, ...] = (
    Lamp(0.6, 0.10, 1.00, (1.00, 1.00, 1.00), 0.03, 0.16, 1.5),  # even ring light
    Lamp(3.0, 0.34, 0.98, (1.07, 1.00, 0.88), 0.05, 0.20, 1.8),  # warm side light
    Lamp(-0.9, 0.16, 1.05, (0.94, 1.00, 1.08), 0.22, 0.12, 1.5),  # cool bar with a hot spot
    Lamp(1.7, 0.26, 0.74, (1.02, 1.00, 0.95), 0.04, 0.22, 2.8),  # dim, noisy
    Lamp(-2.2, 0.08, 1.20, (0.98, 1.03, 0.97), 0.08, 0.26, 1.5),  # bright diffuser
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


def _noise(rng: np.random.Generator, smoothing: float, stretch: float = 1.0) -> np.ndarray:
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


def _scratch(scene: np.ndarray, rng: np.random.Generator, centre, length: float) -> None:
    """A thin bent line through ``centre`` (row, column), brighter or darker than the surface."""
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25)
    t = np.linspace(-0.5, 0.5, 48)
    along, across = t * length, bend * length * (4 * t * t - 1)
    py = centre[0] + along * np.sin(angle) + across * np.cos(angle)
    px = centre[1] + along * np.cos(angle) - across * np.sin(angle)
    y0, x0 = max(int(py.min()) - 3, 0), max(int(px.min()) - 3, 0)
    y1, x1 = min(int(py.max()) + 4, SIZE), min(int(px.max()) + 4, SIZE)
    rows, cols = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    near = np.min((rows[..., None] - py) ** 2 + (cols[..., None] - px) ** 2, axis=-1)
    alpha = _soft(rng.uniform(0.5, 1.0) - np.sqrt(near)) * rng.uniform(0.35, 0.75)
    colour = (0.95, 0.95, 0.93) if rng.random() < 0.6 else (0.10, 0.10, 0.10)
    _blend(scene[y0:y1, x0:x1], colour, alpha.astype(np.float32))


def _blob(rng: np.random.Generator, centre, radius: float, rough: float = 0.25) -> np.ndarray:
    """Signed distance (positive inside) of an irregular round spot, [256, 256]."""
    dy, dx = _ROWS + (SIZE - 1) / 2 - centre[0], _COLS + (SIZE - 1) / 2 - centre[1]
    squeeze = rng.uniform(0.7, 1.0)
    distance = np.sqrt(dy * dy + (dx / squeeze) ** 2)
    return radius * (1 + rough * _noise(rng, 4.0)) - distance


def _stain(scene: np.ndarray, rng: np.random.Generator, centre, colour) -> None:
    """A translucent spot with a soft, irregular edge."""
    radius = rng.uniform(7, 15)
    alpha = np.clip(_blob(rng, centre, radius) / 5.0, 0, 1) * rng.uniform(0.22, 0.5)
    _blend(scene, colour, alpha)


def _polar(rng: np.random.Generator, inner: float, outer: float) -> tuple[float, float]:
    """A random (row, column) in a ring around the picture's centre."""
    radius, phi = rng.uniform(inner, outer), rng.uniform(0, 2 * np.pi)
    return (SIZE / 2 + radius * np.sin(phi), SIZE / 2 + radius * np.cos(phi))


# ---------------------------------------------------------------- washer: machined metal disc

_WASHER_LOTS = (  # finish, reflectance RGB, depth of the finish
    ("turned", (0.62, 0.63, 0.65), 0.045),
    ("brushed", (0.66, 0.65, 0.63), 0.050),
    ("blasted", (0.54, 0.55, 0.57), 0.045),
    ("ground", (0.60, 0.60, 0.58), 0.055),
    ("turned", (0.64, 0.58, 0.46), 0.070),
)


def _washer(rng, lot: int, lamp: Lamp, defect: str | None, defect_rng) -> np.ndarray:
    """A disc with a bore and six bolt holes on a rubber mat."""
    finish, colour, depth = _WASHER_LOTS[lot]
    shift = rng.uniform(-6, 6, 2)
    scale, turn = rng.uniform(0.95, 1.05), rng.uniform(0, 2 * np.pi)
    y, x = (_ROWS - shift[0]) / scale, (_COLS - shift[1]) / scale
    r, phi = np.sqrt(y * y + x * x), np.arctan2(y, x)
    highlight = np.cos(phi - lamp.angle)

    if finish == "turned":
        wobble = _noise_tile(1.0)[int(rng.integers(512))]
        step = 2.2 if depth < 0.06 else 1.2
        texture = 0.8 * wobble[(r * step).astype(np.int32)] + 0.35 * _noise(rng, 0.6)
        sheen = highlight**8 * 0.16
    elif finish == "brushed":
        texture = _noise(rng, 8.0, 0.06) + 0.25 * _noise(rng, 0.6)
        sheen = 0.04 * highlight
    elif finish == "ground":
        ray = _noise_tile(1.0)[int(rng.integers(512))]
        texture = ray[((phi + np.pi) * 81.4).astype(np.int32) % 512] + 0.3 * _noise(rng, 0.6)
        sheen = (1 - highlight**2) ** 3 * 0.10
    else:
        texture = _noise(rng, 0.8)
        sheen = 0.05 * highlight
    metal = 1.0 + depth * texture / 0.6 + sheen + 0.03 * _noise(rng, 12.0)
    chamfer = np.exp(-((r - 92) ** 2) / 4.0) + np.exp(-((r - 34) ** 2) / 4.0)
    metal += chamfer * 0.30 * np.where(r > 60, highlight, -highlight)
    disc = np.asarray(colour, np.float32) * metal[..., None]

    # Mat with the disc's soft shadow on the side away from the lamp.
    mat = 0.16 + 0.018 * _noise(rng, 0.8) + 0.01 * _noise(rng, 8.0)
    sy, sx = y + 7 * np.sin(lamp.angle), x + 7 * np.cos(lamp.angle)
    mat *= 1 - 0.55 * np.clip((101 - np.sqrt(sy * sy + sx * sx)) / 8, 0, 1)
    scene = np.repeat(mat[..., None], 3, axis=-1)

    alpha = _soft((96 - r) * scale) * _soft((r - 31) * scale)
    lost = int(defect_rng.integers(6)) if defect == "missing_hole" else -1
    for hole in range(6):
        angle = turn + hole * np.pi / 3
        if hole != lost:
            away = np.sqrt((y - 64 * np.sin(angle)) ** 2 + (x - 64 * np.cos(angle)) ** 2)
            alpha *= _soft((away - 9) * scale)
    if defect == "chip":
        rim = defect_rng.uniform(0, 2 * np.pi)
        at = (
            SIZE / 2 + shift[0] + 96 * scale * np.sin(rim),
            SIZE / 2 + shift[1] + 96 * scale * np.cos(rim),
        )
        alpha *= 1 - _soft(_blob(defect_rng, at, defect_rng.uniform(4.0, 8.0), 0.15))
    scene += alpha[..., None] * (disc - scene)
    if defect == "scratch":
        _scratch(scene, defect_rng, _polar(defect_rng, 42, 82), defect_rng.uniform(18, 50))
    elif defect == "stain":
        _stain(scene, defect_rng, _polar(defect_rng, 42, 82), (0.32, 0.22, 0.14))
    return scene


# ---------------------------------------------------------------- fabric: woven cloth

_FABRIC_LOTS = (  # weave, yarn spacing in pixels, warp RGB, weft RGB
    ("plain", 8.0, (0.62, 0.57, 0.48), (0.55, 0.50, 0.42)),
    ("twill", 7.0, (0.30, 0.36, 0.50), (0.58, 0.58, 0.56)),
    ("basket", 7.5, (0.60, 0.56, 0.50), (0.50, 0.47, 0.43)),
    ("twill", 8.5, (0.52, 0.44, 0.36), (0.60, 0.54, 0.46)),
    ("plain", 6.5, (0.42, 0.46, 0.44), (0.55, 0.58, 0.55)),
)


def _fabric(rng, lot: int, lamp: Lamp, defect: str | None, defect_rng) -> np.ndarray:
    """Cloth filling the picture; threads run roughly along the axes."""
    weave, spacing, warp_colour, weft_colour = _FABRIC_LOTS[lot]
    spacing *= rng.uniform(0.96, 1.04)
    turn, offset = rng.uniform(-0.07, 0.07), rng.uniform(0, 64, 2)
    drift = 0.12 * _noise(rng, 24.0), 0.12 * _noise(rng, 24.0)
    u = (np.cos(turn) * _COLS + np.sin(turn) * _ROWS) / spacing + offset[0] + 40 + drift[0]
    v = (np.cos(turn) * _ROWS - np.sin(turn) * _COLS) / spacing + offset[1] + 40 + drift[1]
    iu, iv = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    fu, fv = 2 * (u - iu) - 1, 2 * (v - iv) - 1
    if weave == "plain":
        over = (iu + iv) % 2 == 0
    elif weave == "twill":
        over = (iu + iv) % 4 < 2
    else:
        over = (iu // 2 + iv // 2) % 2 == 0

    warp_shade = 1 + 0.06 * rng.standard_normal(256).astype(np.float32)
    weft_shade = 1 + 0.06 * rng.standard_normal(256).astype(np.float32)
    middle = iu[SIZE // 2, SIZE // 2]
    if defect in ("broken_yarn", "slub"):
        yarn = int(middle + defect_rng.integers(-9, 10))
        start = iv.min() + (iv.max() - iv.min()) * defect_rng.uniform(0.15, 0.6)
        span = defect_rng.uniform(5, 11)
        gone = (iu == yarn) & (v > start) & (v < start + span)
        if defect == "broken_yarn":
            over = over & ~gone
    warp = (1 - 0.55 * fu * fu) * (0.88 + 0.12 * (1 - fv * fv)) * warp_shade[iu % 256]
    weft = (1 - 0.55 * fv * fv) * (0.88 + 0.12 * (1 - fu * fu)) * weft_shade[iv % 256]
    fibre = 1 + 0.06 * _noise(rng, 0.6) + 0.03 * _noise(rng, 8.0)
    cloth = np.where(
        over[..., None],
        (warp * fibre)[..., None] * np.asarray(warp_colour, np.float32),
        (weft * fibre)[..., None] * np.asarray(weft_colour, np.float32),
    ).astype(np.float32)
    if defect == "slub":
        swell = 1 - ((v - start - span / 2) / (span / 2)) ** 2
        body = np.clip(swell, 0, 1) * np.clip(1.4 - np.abs(u - yarn - 0.5), 0, 1)
        _blend(cloth, np.asarray(warp_colour) * 1.12, body.astype(np.float32) * 0.8)
    elif defect == "hole":
        at = defect_rng.uniform(30, SIZE - 30, 2)
        alpha = _soft(_blob(defect_rng, at, defect_rng.uniform(4.0, 8.0), 0.3))
        _blend(cloth, (0.07, 0.07, 0.07), alpha * 0.9)
    elif defect == "stain":
        _stain(cloth, defect_rng, defect_rng.uniform(30, SIZE - 30, 2), (0.20, 0.16, 0.12))
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

# Parts on the drawing of 512x512 half-pixels: (kind, row, column, height, width).
_CHIPS = (("ic", 120, 110, 92, 92), ("ic", 300, 100, 60, 110), ("ic", 270, 320, 76, 76))
_PASSIVES = tuple(
    [("resistor", 110 + 30 * i, 262, 14, 34) for i in range(4)]
    + [("capacitor", 110 + 30 * i, 324, 14, 30) for i in range(4)]
    + [("resistor", 392, 110 + 48 * i, 34, 14) for i in range(4)]
    + [("capacitor", 286 + 34 * i, 244, 18, 36) for i in range(3)]
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
        for i in range(int(width) // 12):
            for y in (row - 11, row + height):
                _fill(drawing, y, col + 4 + 12 * i, 11, 6, _TIN)
                pins.append((y, col + 4 + 12 * i))
        _fill(drawing, row, col, height, width, np.multiply(colours[1], shade))
        _fill(drawing, row + 6, col + 6, 6, 6, np.multiply(colours[1], 1.7))
        for i in range(3):  # marking
            _fill(drawing, row + height / 2 - 12 + 10 * i, col + 16, 4, width - 34 - 8 * i, colours[2])
            drawing[round(row + height / 2 - 12 + 10 * i) :][:4, round(col + 24) :: 14][:, :3] *= 0.55
    else:
        body = (0.12, 0.12, 0.13) if kind == "resistor" else _BEIGE
        _fill(drawing, row, col, height, width, np.multiply(body, shade))
        cap = 7 if kind == "resistor" else 8
        if width > height:
            _fill(drawing, row, col, height, cap, _TIN)
            _fill(drawing, row, col + width - cap, height, cap, _TIN)
        else:
            _fill(drawing, row, col, cap, width, _TIN)
            _fill(drawing, row + height - cap, col, cap, width, _TIN)
    return pins


@lru_cache(maxsize=LOTS)
def _bare_board(lot: int) -> np.ndarray:
    """Solder mask, traces, pads and header of a lot, [512, 512, 3] float32."""
    colours = _BOARD_LOTS[lot]
    drawing = np.full((512, 512, 3), 0.62, np.float32)  # bench
    _fill(drawing, 34, 34, 444, 444, colours[0])
    trace = np.clip(np.multiply(colours[0], 1.35) + 0.02, 0, 1)
    for i in range(9):
        _fill(drawing, 226 + 7 * i, 60, 3, 180 + 14 * i, trace)
        _fill(drawing, 226 + 7 * i, 240 + 14 * i, 100, 3, trace)
        _fill(drawing, 60 + 5 * i, 230, 2, 200, trace)
    for part in _PASSIVES:  # pads, wider than the part
        _, row, col, height, width = part
        _fill(drawing, row - 5, col - 5, height + 10, width + 10, colours[2])
        _fill(drawing, row - 3, col - 3, height + 6, width + 6, colours[0])
        if width > height:
            _fill(drawing, row, col - 2, height, 9, _TIN)
            _fill(drawing, row, col + width - 7, height, 9, _TIN)
        else:
            _fill(drawing, row - 2, col, 9, width, _TIN)
            _fill(drawing, row + height - 7, col, 9, width, _TIN)
    _fill(drawing, 100, 396, 220, 48, (0.15, 0.15, 0.15))  # pin header
    yy, xx = np.mgrid[0:512, 0:512]
    for i in range(9):
        for col in (409, 431):
            drawing[(yy - 112 - 24 * i) ** 2 + (xx - col) ** 2 < 49] = _GOLD
    for row, col in ((60, 60), (60, 452), (452, 60), (452, 452)):  # mounting holes
        away = (yy - row) ** 2 + (xx - col) ** 2
        drawing[away < 17**2] = _GOLD
        drawing[away < 11**2] = 0.1
    return drawing


def _board(rng, lot: int, lamp: Lamp, defect: str | None, defect_rng) -> np.ndarray:
    """A circuit board with chips, passives and a pin header, drawn at twice the resolution."""
    colours = _BOARD_LOTS[lot]
    drawing = _bare_board(lot).copy()
    parts = _CHIPS + _PASSIVES
    shades = rng.uniform(0.85, 1.15, len(parts))
    shifts = rng.uniform(-1.5, 1.5, (len(parts), 2))
    chosen = int(defect_rng.integers(len(_CHIPS), len(parts)))
    pins = []
    for index, part in enumerate(parts):
        shift = shifts[index]
        if index == chosen and defect == "missing_part":
            continue
        if index == chosen and defect == "misplaced":
            along = defect_rng.uniform(6, 12) * (1 if defect_rng.random() < 0.5 else -1)
            shift = shift + (along, defect_rng.uniform(-4, 4))
        pins += _part(drawing, part, colours, shades[index], shift)
    if defect == "solder_bridge":
        row, col = pins[int(defect_rng.integers(len(pins)))]
        _fill(drawing, row + defect_rng.uniform(-2, 3), col, 8, defect_rng.uniform(16, 24), _TIN)

    turn, shift = rng.uniform(-0.05, 0.05), rng.uniform(-8, 8, 2)
    grid = np.arange(512, dtype=np.float32) - 255.5
    rows = np.cos(turn) * grid[:, None] - np.sin(turn) * grid[None, :] + 256 + shift[0]
    cols = np.sin(turn) * grid[:, None] + np.cos(turn) * grid[None, :] + 256 + shift[1]
    flat = np.clip(rows, 0, 511).astype(np.int32) * 512 + np.clip(cols, 0, 511).astype(np.int32)
    turned = drawing.reshape(-1, 3)[flat]
    scene = turned.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    scene *= (1 + 0.03 * _noise(rng, 0.8) + 0.03 * _noise(rng, 12.0))[..., None]
    if defect == "scratch":
        at = defect_rng.uniform(50, SIZE - 50, 2)
        _scratch(scene, defect_rng, at, defect_rng.uniform(18, 50))
    return scene


# ---------------------------------------------------------------- photograph

_SCENES = {"washer": _washer, "fabric": _fabric, "board": _board}

DEFECTS: dict[str, tuple[str, ...]] = {
    "washer": ("scratch", "stain", "chip", "missing_hole"),
    "fabric": ("stain", "hole", "broken_yarn", "slub"),
    "board": ("scratch", "missing_part", "misplaced", "solder_bridge"),
}


def _photograph(scene: np.ndarray, lamp: Lamp, rng: np.random.Generator) -> np.ndarray:
    """Light a scene and record it: [256, 256, 3] uint8."""
    angle = lamp.angle + rng.normal(0, 0.08)
    gain = lamp.gain * (1 + rng.normal(0, 0.03))
    towards = (np.cos(angle) * _COLS + np.sin(angle) * _ROWS) / (SIZE / 2)
    light = 1 + lamp.gradient * towards
    dy, dx = _ROWS / 128 - 0.55 * np.sin(angle), _COLS / 128 - 0.55 * np.cos(angle)
    light += lamp.spot * np.exp(-(dy * dy + dx * dx) / 0.18)
    picture = scene * light[..., None] * (gain * np.asarray(lamp.tint, np.float32))
    for axis in (0, 1):
        edge = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        wide = np.pad(picture, edge, mode="edge")
        before, after = (wide[:-2], wide[2:]) if axis == 0 else (wide[:, :-2], wide[:, 2:])
        picture = (1 - 2 * lamp.blur) * picture + lamp.blur * (before + after)
    noise = lamp.noise * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(255 * picture + noise + 0.5, 0, 255).astype(np.uint8)


def render(
    product: str, lot: int, lamp: Lamp, key: tuple[int, ...], defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Photograph one part.

    ``key`` seeds everything random; the same key with and without ``defect`` shows the same part,
    pose, light and sensor noise. Returns the picture [256, 256, 3] uint8 and the defect's mask
    [256, 256] bool (all False without a defect).
    """
    scene_key, defect_key, camera_key = ([*key, stream] for stream in range(3))
    draw = _SCENES[product]

    def scene_of(kind):
        return draw(
            np.random.default_rng(scene_key), lot, lamp, kind, np.random.default_rng(defect_key)
        ).astype(np.float32)

    scene = scene_of(defect)
    mask = np.zeros((SIZE, SIZE), bool)
    if defect is not None:
        mask = np.abs(scene - scene_of(None)).max(axis=-1) > _MASK_THRESHOLD
    return _photograph(scene, lamp, np.random.default_rng(camera_key)), mask
