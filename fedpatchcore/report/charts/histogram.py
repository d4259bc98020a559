"""Scores of a site's good and defective test images, and the threshold between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedpatchcore.report.charts.shapes import Bars, Chart, Shape, Text, empty, line, ticks

__all__ = ["histogram_chart"]

LEFT, WIDTH, HEIGHT, ROOF = 8, 300, 92, 18
FLOOR = ROOF + HEIGHT


def histogram_chart(
    good: Sequence[int], defective: Sequence[int], top: float, threshold: float | None
) -> Chart:
    """Scores of good and of defective test images → chart.

    Args:
        good, defective: counts in equal bins from 0 to ``top``. Each class is scaled to its own
            share of images, so that a small class is not hidden by a large one.
        threshold: marked if finite.
    """
    counts = [np.asarray(c, dtype=np.float64) for c in (good, defective)]
    if not sum(float(c.sum()) for c in counts) or not top or not math.isfinite(top):
        return empty("no test images")
    shares = [c / c.sum() if c.sum() else c for c in counts]
    peak = max(float(s.max(initial=0)) for s in shares)
    limit = threshold if threshold is not None and math.isfinite(threshold) else None
    begin, end = _extent(shares, None if limit is None else limit / top)

    def place(share: float) -> float:
        return LEFT + (share - begin) / (end - begin) * WIDTH

    shapes: list[Shape] = []
    names = (("good", "good"), ("defect", "defective"))
    for share, (look, name), number in zip(shares, names, counts, strict=True):
        bins = len(share)
        bars = tuple(
            (round(place(at / bins), 1), width, round(float(value / peak * HEIGHT), 1))
            for width in [round(WIDTH / bins / (end - begin), 1)]
            for at, value in enumerate(share)
            if value and at >= int(begin * bins)
        )
        tip = f"{name}: {int(number.sum())} images"
        shapes.append(Bars(bars, FLOOR, f"mass {look}", tip))
    shapes.append(line([(LEFT, FLOOR), (LEFT + WIDTH, FLOOR)], "axis"))
    for tick in ticks(begin * top, end * top, 5):
        x = place(tick / top)
        shapes.append(line([(x, FLOOR), (x, FLOOR + 4)], "axis"))
        shapes.append(Text(x, FLOOR + 16, f"{tick:g}", "faint", "middle"))
    if limit is not None:
        x = place(limit / top)
        shapes.append(line([(x, ROOF - 4), (x, FLOOR)], "limit"))
        before = x > LEFT + WIDTH * 0.6
        words = f"threshold {limit:.3g}"
        shapes.append(
            Text(x + (-5 if before else 5), ROOF - 6, words, anchor="end" if before else "start")
        )
    return Chart(LEFT * 2 + WIDTH, FLOOR + 22, "score histogram", tuple(shapes))


def _extent(shares: Sequence[np.ndarray], limit: float | None) -> tuple[float, float]:
    """Shares of the top score that the axis shows: the empty bins near 0 say nothing."""
    first = min(int(np.flatnonzero(s)[0]) for s in shares if s.any())
    begin = max(0.0, (first - 2) / len(shares[0]))
    if limit is None:
        return begin, 1.0
    return min(begin, max(0.0, limit - 0.05)), max(1.0, limit * 1.04)
