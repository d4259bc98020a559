"""A white sheet on which pixels, lines and text are placed by pixel.

Matplotlib's Agg renderer behind its object interface: no window, no global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import FancyBboxPatch, Polygon
from PIL import Image

__all__ = ["FAINT", "INK", "PAPER", "Canvas", "shortened", "text_width"]

INK, FAINT, PAPER = "#1c2430", "#667085", "#ffffff"
PIXELS_PER_INCH = 100
FONT = "DejaVu Sans"  # comes with matplotlib

Point = tuple[float, float]


class Canvas:
    """``width`` × ``height`` pixels; points are (x, y) from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        inches = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
        self._figure = Figure(figsize=inches, dpi=PIXELS_PER_INCH, facecolor=PAPER)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._frame()

    def _frame(self) -> None:
        """Undo the limits that matplotlib sets by itself when something is drawn."""
        self._axes.set_xlim(0, self.width)
        self._axes.set_ylim(self.height, 0)

    def image(self, pixels: np.ndarray, corner: Point) -> None:
        """Place uint8 ``[H, W, 3]`` with its upper left corner there, pixel for pixel."""
        (left, top), (height, width) = corner, pixels.shape[:2]
        self._axes.imshow(
            pixels,
            extent=(left, left + width, top + height, top),
            interpolation="nearest",
            aspect="auto",
        )
        self._frame()

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 9,
        weight: str = "normal",
        color: str = INK,
        ha: str = "left",
    ) -> None:
        """One line, centred on y."""
        self._axes.text(
            x,
            y,
            legible(words),
            fontproperties=FontProperties(family=FONT, weight=weight, size=size),
            parse_math=False,
            color=color,
            ha=ha,
            va="center",
        )

    def line(self, start: Point, end: Point, color: str, width: float) -> None:
        """A straight line, ``width`` in points."""
        xs, ys = zip(start, end, strict=True)
        self._axes.plot(xs, ys, color=color, linewidth=width)
        self._frame()

    def polygon(self, points: Sequence[Point], color: str) -> None:
        """A filled polygon."""
        self._axes.add_patch(Polygon(points, fc=color, ec="none"))

    def chip(self, corner: Point, size: Point, color: str) -> None:
        """A filled box with round corners."""
        style = "round,pad=0,rounding_size=5"
        self._axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, fc=color, ec="none"))

    def outline(
        self, field: np.ndarray, level: float, corner: Point, color: str, width: float
    ) -> None:
        """Draw where ``field`` float ``[H, W]`` rises above ``level``, on any background.

        NaN counts as below. Nothing is drawn if nothing, or level NaN, is above.
        """
        known = field[np.isfinite(field)]
        if not math.isfinite(level) or not (known > level).any():
            return
        floor = min(level, float(known.min())) - 1e-3 * max(1.0, float(np.ptp(known)))
        filled = np.pad(np.where(np.isfinite(field), field, floor), 1, constant_values=floor)
        xs = corner[0] - 0.5 + np.arange(filled.shape[1])
        ys = corner[1] - 0.5 + np.arange(filled.shape[0])
        for shade, line in (("#101418", width + 1.4), (color, width)):  # light over dark
            self._axes.contour(xs, ys, filled, levels=[level], colors=shade, linewidths=line)
        self._frame()

    def picture(self) -> Image.Image:
        """The sheet as an RGB picture."""
        self._canvas.draw()
        found = Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3].copy())
        self._figure.clear()  # figure and canvas name each other: what they hold would wait
        self._canvas.renderer = None  # for the collector of cycles
        return found


@lru_cache(maxsize=2)
def _font(weight: str = "normal"):
    return get_font(findfont(FontProperties(family=FONT, weight=weight)))


def text_width(words: str, size: float, weight: str = "normal") -> float:
    """Pixels that one line takes up on a sheet."""
    font = _font(weight)
    font.set_size(size, PIXELS_PER_INCH)
    font.set_text(legible(words))
    return font.get_width_height()[0] / 64


def shortened(words: str, room: float, size: float) -> str:
    """Words whose middle is left out as far as they need more than ``room`` pixels."""
    words = legible(words)
    kept = len(words)
    short = words
    while kept > 2 and text_width(short, size) > room:
        kept -= 1
        short = f"{words[: kept - kept // 2]}…{words[len(words) - kept // 2 :]}"
    return short


def legible(words: str) -> str:
    """Words on one line, in glyphs that the font has."""
    line = "".join(c if c.isprintable() else " " for c in words)
    return "".join(c if _font().get_char_index(ord(c)) else "?" for c in line)
