"""ROC curves of a product's sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedpatchcore.report.charts.shapes import Chart, Line, Rect, Shape, Text, empty, line
from fedpatchcore.report.words import short

__all__ = ["roc_chart"]

SIDE, LEFT, TOP = 230, 40, 10
FLOOR = TOP + SIDE
COLOURS = 8  # of the style sheet: series-0 … series-7
STEP = 17  # between two lines of the legend


def roc_chart(curves: Mapping[str, Sequence[float | None]]) -> Chart:
    """ROC curves → chart.

    Args:
        curves: name → true-positive rates at evenly spaced false-positive rates 0 … 1. Curves
            with NaN or None are left out. More than eight are drawn as one faint bundle with
            their mean.
    """
    defined = {n: c for n, c in ((n, _floats(c)) for n, c in curves.items()) if _all_finite(c)}
    if not defined:
        return empty("no ROC curve: no test set with both good and defective images")
    few = len(defined) <= COLOURS
    shapes: list[Shape] = [*_axes(), line([(LEFT, FLOOR), (LEFT + SIDE, TOP)], "chance")]
    for at, (site, rates) in enumerate(defined.items()):
        shapes.append(_curve(rates, f"curve series-{at}" if few else "curve bundle", site))
    if few:
        entries = [(f"series-{at}", short(n, 34)) for at, n in enumerate(defined)]
    else:
        shapes.append(_curve(np.mean([_resampled(c) for c in defined.values()], 0), "curve mean"))
        entries = [("mean", "mean of the sites"), ("bundle", f"{len(defined)} sites")]
    for at, (look, words) in enumerate(entries):
        y = FLOOR + 48 + at * STEP
        shapes += [Rect(LEFT, y - 8, 14, 4, 2, f"swatch {look}"), Text(LEFT + 20, y - 2, words)]
    height = FLOOR + 36 + len(entries) * STEP + 8
    return Chart(LEFT + SIDE + 14, height, "ROC curves", tuple(shapes))


def _axes() -> list[Shape]:
    shapes: list[Shape] = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = LEFT + share * SIDE, TOP + (1 - share) * SIDE
        shapes += [
            line([(x, TOP), (x, FLOOR)], "grid"),
            line([(LEFT, y), (LEFT + SIDE, y)], "grid"),
            Text(x, FLOOR + 14, f"{share:g}", "faint", "middle"),
            Text(LEFT - 6, y + 4, f"{share:g}", "faint", "end"),
        ]
    middle = (LEFT + SIDE / 2, TOP + SIDE / 2)
    shapes.append(Text(middle[0], FLOOR + 30, "false-positive rate", "faint", "middle"))
    shapes.append(Text(10, middle[1], "true-positive rate", "faint", "middle", turned=True))
    return shapes


def _curve(rates: np.ndarray, look: str, tip: str = "") -> Line:
    xs = LEFT + np.linspace(0, SIDE, len(rates))
    ys = TOP + SIDE * (1 - np.clip(rates, 0, 1))
    return line(zip(xs, ys, strict=True), look, tip=tip)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)


def _all_finite(values: np.ndarray) -> bool:
    return bool(values.size) and bool(np.isfinite(values).all())


def _resampled(rates: np.ndarray, points: int = 101) -> np.ndarray:
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(rates)), rates)
