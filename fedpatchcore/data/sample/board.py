"""The board: a populated circuit board, drawn in rectangles of half-pixels."""

import math
from functools import lru_cache

import numpy as np

from fedpatchcore.data.sample.damage import scratch
from fedpatchcore.data.sample.raster import SIZE, noise_window

__all__ = ["draw_board"]

_LOTS = (  # solder mask RGB, IC body RGB, silkscreen RGB
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


@lru_cache(maxsize=len(_LOTS))
def _bare_board(lot: int) -> np.ndarray:
    """Solder mask, traces and pads of a lot, [512, 512, 3] float32."""
    colours = _LOTS[lot]
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


def draw_board(rng, lot: int, light: float, defect: str | None, defect_rng) -> np.ndarray:
    """A detail of a circuit board with chips and passives, drawn at twice the resolution."""
    colours = _LOTS[lot]
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
        scratch(scene, defect_rng, at, depth=0.6)
    return scene
