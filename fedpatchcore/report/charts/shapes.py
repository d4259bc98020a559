"""A chart as values: shapes at their places, which a template draws.

A ``look`` is a CSS class or several; colours and strokes are the style sheet's, so that a chart
is right on light, on dark and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fedpatchcore.report.words import reason_of, short

__all__ = [
    "Bars",
    "Chart",
    "Circle",
    "Line",
    "Rect",
    "Shape",
    "Text",
    "drawn",
    "empty",
    "line",
    "name",
    "ticks",
]


@dataclass(frozen=True)
class Line:
    """A line through points, or the area within it if ``closed``; ``tip`` shows on hovering."""

    points: tuple[tuple[float, float], ...]
    look: str
    closed: bool = False
    tip: str = ""
    kind: str = "line"


@dataclass(frozen=True)
class Bars:
    """Upright bars on one floor, as one shape: (x, width, height) each."""

    bars: tuple[tuple[float, float, float], ...]
    floor: float
    look: str
    tip: str = ""
    kind: str = "bars"


@dataclass(frozen=True)
class Rect:
    """A rectangle with round corners."""

    x: float
    y: float
    width: float
    height: float
    radius: float
    look: str
    opacity: float = 1.0
    tip: str = ""
    kind: str = "rect"


@dataclass(frozen=True)
class Circle:
    """A dot."""

    x: float
    y: float
    radius: float
    look: str
    tip: str = ""
    kind: str = "circle"


@dataclass(frozen=True)
class Text:
    """One line of text; ``anchor`` is "start", "middle" or "end" of it; upwards if ``turned``."""

    x: float
    y: float
    words: str
    look: str = ""
    anchor: str = "start"
    turned: bool = False
    tip: str = ""
    kind: str = "text"


Shape = Line | Bars | Rect | Circle | Text


@dataclass(frozen=True)
class Chart:
    """A picture in its own coordinates; ``label`` is read out by screen readers."""

    width: float
    height: float
    label: str
    shapes: tuple[Shape, ...]


def empty(reason: str) -> Chart:
    """A picture that says why there is none."""
    return Chart(20 + 6.2 * len(reason), 36, reason, (Text(10, 22, reason, "faint"),))


def drawn(chart: Callable[..., Chart], *values: object) -> Chart:
    """A chart of these values; one that cannot be drawn says so in its place."""
    try:
        return chart(*values)
    except Exception as error:
        return empty(f"this figure cannot be drawn ({reason_of(error)})")


def line(points: Iterable[tuple[float, float]], look: str, **more: object) -> Line:
    """A `Line`, to a tenth of a pixel."""
    rounded = tuple((round(float(x), 1), round(float(y), 1)) for x, y in points)
    return Line(rounded, look, **more)  # type: ignore[arg-type]


def name(x: float, y: float, words: str, limit: int, **more: object) -> Text:
    """A name from outside, cut to ``limit`` characters; the whole of it on hovering."""
    shown = short(words, limit)
    tip = words if words != shown else ""
    return Text(x, y, shown, tip=tip, **more)  # type: ignore[arg-type]


def ticks(low: float, high: float, about: int) -> Sequence[float]:
    """Round numbers from low to high, at most ``about`` + 1."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 12) for at in range(first, math.floor(high / step + 1e-9) + 1)]
