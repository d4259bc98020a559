"""Small pieces of SVG: text, ticks and the frame that the charts share.

Colours are CSS variables with a fallback, so that a page can restyle them for dark or paper;
text takes the page's colour. Text from outside is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

__all__ = ["FAINT", "GRID", "empty", "polyline", "short", "svg", "text", "ticks"]

GRID = "var(--grid, #d5dae1)"
FAINT = "var(--faint, #667085)"


def text(
    x: float, y: float, words: str, *, anchor: str = "start", faint: bool = False, tip: str = ""
) -> str:
    """One line of text at (x, y); ``tip`` is shown on hovering if it says more."""
    shade = FAINT if faint else "currentColor"
    title = f"<title>{escape(tip)}</title>" if tip and tip != words else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="{shade}" text-anchor="{anchor}">'
        f"{escape(words)}{title}</text>"
    )


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """A picture of ``parts``; ``label`` is read out by screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(label)}" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def empty(reason: str) -> str:
    """A picture that says why there is none."""
    width = 20 + 6.2 * len(reason)
    return svg(width, 36, [text(10, 22, reason, faint=True)], reason)


def polyline(xs: np.ndarray, ys: np.ndarray) -> str:
    """The ``d`` attribute of a line through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, at most ``about`` + 1."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 12) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def short(name: str, limit: int) -> str:
    """A name on one line, cut to ``limit`` characters."""
    name = " ".join(name.split())
    return name if len(name) <= limit else name[: limit - 1] + "…"
