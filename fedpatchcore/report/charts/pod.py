"""Probability of detection against size, kind by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedpatchcore.metrics.detection_probability import Pod
from fedpatchcore.metrics.planted_found import Line
from fedpatchcore.metrics.rates import percent
from fedpatchcore.report.charts.shapes import Chart, Circle, Rect, Shape, Text, empty, line

__all__ = ["pod_chart"]

LEFT, TOP, WIDTH, HEIGHT = 46, 12, 420, 230
FLOOR = TOP + HEIGHT
STEP = 17  # between two lines of the legend
STEPS = 60


def pod_chart(lines: Sequence[Line]) -> Chart:
    """Curves of all defects and of each kind → chart; dots are the shares that were found."""
    lines = [one for one in lines if one.sizes and one.what != "contrast"]
    if not lines:
        return empty("no defect was planted")
    sizes = sorted({size for one in lines for size in one.sizes})
    low, high = sizes[0] / 1.25, sizes[-1] * 1.25

    def place(size: float, share: float) -> tuple[float, float]:
        return (
            LEFT + WIDTH * math.log(size / low) / math.log(high / low),
            FLOOR - HEIGHT * min(1.0, max(0.0, share)),
        )

    shapes: list[Shape] = []
    for size in sizes:
        x, _ = place(size, 0)
        shapes += [line([(x, TOP), (x, FLOOR)], "grid")]
        shapes += [Text(x, FLOOR + 14, percent(size), "faint", "middle")]
    for share in (0, 0.25, 0.5, 0.75, 0.9, 1):
        _, y = place(low, share)
        shapes += [line([(LEFT, y), (LEFT + WIDTH, y)], "grid")]
        shapes += [Text(LEFT - 6, y + 4, f"{share:.0%}", "faint", "end")]
    grid = np.geomspace(low, high, STEPS)
    for at, one in enumerate(lines):
        look = "mean" if one.what == "all" else f"series-{at % 8}"
        if isinstance(one.curve, Pod):
            points = [place(*pair) for pair in zip(grid, one.curve.at(grid), strict=True)]
            shapes.append(line(points, f"curve {look}", tip=one.name))
        for size, rate in one.sizes.items():
            tip = f"{one.name}, {percent(size)}: {rate}"
            shapes.append(Circle(*place(size, rate.share), 3.2, f"swatch {look}", tip))
        y = FLOOR + 50 + at * STEP
        shapes += [Rect(LEFT, y - 8, 14, 4, 2, f"swatch {look}")]
        shapes += [Text(LEFT + 20, y - 2, f"{one.name}: {one.found.counts}")]
    shapes.append(
        Text(LEFT + WIDTH / 2, FLOOR + 30, "size, of the shorter side", "faint", "middle")
    )
    height = FLOOR + 42 + len(lines) * STEP + 6
    return Chart(LEFT + WIDTH + 14, height, "probability of detection by size", tuple(shapes))
