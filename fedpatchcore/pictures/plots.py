"""Curves and points over two axes, on a `Canvas`: for files that are looked at outside a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from PIL import Image

from fedpatchcore.pictures.canvas import FAINT, INK, Canvas, shortened, text_width
from fedpatchcore.pictures.labels import Labels

__all__ = ["COLOURS", "Plot"]

COLOURS = ("#1f6feb", "#d9622b", "#1a7f64", "#8e4ec6", "#b7791f", "#c2255c", "#0b7285", "#5c6b7a")
GRID = "#e3e8ee"
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 92, 62  # around the axes, pixels


class Plot:
    """A sheet with two axes; values outside of them are drawn at the edge.

    Args:
        size: width and height in pixels.
        x, y: ends of the axes; those of x are > 0 if ``log``.
        below: room for the legend, in lines.
    """

    def __init__(
        self,
        size: tuple[int, int],
        title: str,
        subtitle: str,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        ticks: tuple[Sequence[float], Sequence[float]],
        told: tuple[Callable[[float], str], Callable[[float], str]],
        log: bool = False,
        below: int = 0,
    ) -> None:
        width, height = size
        self.canvas = Canvas(width, height + 22 * below)
        self._area = LEFT, TOP, width - RIGHT, height - BOTTOM
        self._x, self._y, self._log, self._height = x, y, log, height
        self._labels = Labels(TOP, height - BOTTOM)
        canvas = self.canvas
        canvas.text(18, 24, shortened(title, width - 36, 12), size=12, weight="bold")
        canvas.text(18, 48, shortened(subtitle, width - 36, 9), color=FAINT)
        left, top, right, bottom = self._area
        for value in ticks[0]:
            at = self.across(value)
            canvas.line((at, top), (at, bottom), GRID, 0.8)
            canvas.text(at, bottom + 14, told[0](value), size=8, color=FAINT, ha="center")
        for value in ticks[1]:
            at = self.down(value)
            canvas.line((left, at), (right, at), GRID, 0.8)
            canvas.text(left - 8, at, told[1](value), size=8, color=FAINT, ha="right")
        canvas.line((left, bottom), (right, bottom), FAINT, 1)
        canvas.line((left, top), (left, bottom), FAINT, 1)
        canvas.text((left + right) / 2, bottom + 36, labels[0], color=FAINT, ha="center")
        canvas.text(18, top - 12, labels[1], size=8, color=FAINT)

    def across(self, value: float) -> float:
        """Pixel of a value on the x axis."""
        low, high = self._x
        if self._log:
            value, low, high = (math.log(max(one, 1e-12)) for one in (value, low, high))
        left, _, right, _ = self._area
        return left + (right - left) * min(1.0, max(0.0, (value - low) / (high - low)))

    def down(self, value: float) -> float:
        """Pixel of a value on the y axis."""
        low, high = self._y
        _, top, _, bottom = self._area
        return bottom - (bottom - top) * min(1.0, max(0.0, (value - low) / (high - low)))

    def curve(self, xs: Sequence[float], ys: Sequence[float], color: str, width: float = 2) -> None:
        """A line through points."""
        points = [(self.across(x), self.down(y)) for x, y in zip(xs, ys, strict=True)]
        for start, end in pairwise(points):
            self.canvas.line(start, end, color, width)

    def point(self, x: float, y: float, color: str, radius: float = 5) -> None:
        """A dot."""
        at, down = self.across(x), self.down(y)
        ring = [(at + radius * math.cos(t), down + radius * math.sin(t)) for t in _CIRCLE]
        self.canvas.polygon(ring, color)

    def upright(self, x: float, low: float, high: float, color: str) -> None:
        """An interval."""
        at = self.across(x)
        self.canvas.line((at, self.down(low)), (at, self.down(high)), color, 1.2)

    def words(self, x: float, y: float, text: str, color: str = INK, room: float = 260) -> None:
        """A name beside a point, on the side where there is room, upon no other name."""
        at, short = self.across(x), shortened(text, room, 8)
        beside = at + room < self._area[2]
        width = text_width(short, 8)
        left = at + 9 if beside else at - 9 - width
        self.canvas.text(
            at + 9 if beside else at - 9,
            self._labels.place(left, left + width, self.down(y) - 11),
            short,
            size=8,
            color=color,
            ha="left" if beside else "right",
        )

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Colours and what they are, a line each, below the axes."""
        for at, (color, text) in enumerate(entries):
            y = self._height - 4 + 22 * at
            self.canvas.line((LEFT, y), (LEFT + 26, y), color, 3)
            self.canvas.text(LEFT + 36, y, shortened(text, self._area[2] - LEFT - 36, 9))

    def picture(self) -> Image.Image:
        """The sheet as an RGB picture."""
        return self.canvas.picture()


_CIRCLE = [2 * math.pi * at / 24 for at in range(24)]
