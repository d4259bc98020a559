"""Each site alone, federated, hybrid and pooled, on one line a site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedpatchcore.metrics.comparison import METHODS, NAMES, used
from fedpatchcore.report.charts.shapes import (
    Chart,
    Circle,
    Shape,
    Text,
    empty,
    line,
    name,
    ticks,
)
from fedpatchcore.report.words import short

__all__ = ["comparison_chart"]

WIDTH, ROOF = 300, 8
LONGEST = 22  # characters of a name
ORDER = ("pooled", "hybrid", "local", "federated")  # the last lies on top


def comparison_chart(rows: Sequence[Mapping[str, object]]) -> Chart:
    """Image AUROC by site and method → chart.

    Args:
        rows: each with ``site`` and, by name of `METHODS`, figures in [0, 1]; NaN where undefined.
    """
    values = [{n: float(row.get(n, math.nan)) for n in METHODS} for row in rows]  # type: ignore[arg-type]
    finite = [v for own in values for v in own.values() if math.isfinite(v)]
    if not finite:
        return empty("no AUROC: no test set with both good and defective images")
    low = min(0.95, math.floor(min(finite) * 20 - 0.2) / 20)
    step = 26 if len(rows) <= 15 else 14
    left = 16 + max(len(short(str(r["site"]), LONGEST)) for r in rows) * 6.6
    floor = ROOF + len(rows) * step

    def place(value: float) -> float:
        return left + (value - low) / (1 - low) * WIDTH

    shapes: list[Shape] = []
    for tick in ticks(low, 1, 6):
        x = place(tick)
        shapes.append(line([(x, ROOF), (x, floor)], "grid"))
        shapes.append(Text(x, floor + 15, f"{tick:g}", "faint", "middle"))
    for at, (row, own) in enumerate(zip(rows, values, strict=True)):
        y = ROOF + (at + 0.5) * step
        site = str(row["site"])
        shapes.append(name(left - 10, y + 4, site, LONGEST, anchor="end"))
        ends = [(place(own[n]), y) for n in ("local", "federated") if math.isfinite(own[n])]
        if len(ends) == 2:
            shapes.append(line(ends, "gain"))
        shapes += [
            _mark(n, place(own[n]), y, f", {site}: {own[n]:.3f}")
            for n in ORDER
            if math.isfinite(own[n])
        ]
    x = left
    for method in METHODS:
        if used(values, method):
            shapes += [_mark(method, x + 6, floor + 33), Text(x + 16, floor + 37, NAMES[method])]
            x += 30 + 6 * len(NAMES[method])
    return Chart(left + WIDTH + 14, floor + 44, "AUROC by site", tuple(shapes))


def _mark(method: str, x: float, y: float, more: str = "") -> Shape:
    """A method's sign at (x, y): ring, dot, triangle or diamond."""
    look, tip = f"mark {method}", NAMES[method] + more
    if method == "local":
        return Circle(x, y, 4.4, look, tip)
    if method == "federated":
        return Circle(x, y, 5, look, tip)
    if method == "hybrid":
        corners = [(x, y - 6), (x + 6, y + 4.5), (x - 6, y + 4.5)]
    else:
        corners = [(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]
    return line(corners, look, closed=True, tip=tip)
