"""Candidates of a tune: planted AUROC against seconds, the front as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedpatchcore.pictures.labels import Labels
from fedpatchcore.report.charts.shapes import Chart, Circle, Shape, Text, empty, line, ticks
from fedpatchcore.report.words import short
from fedpatchcore.tuning.ranking import Ranked, front

__all__ = ["front_chart"]

LEFT, TOP, WIDTH, HEIGHT = 46, 14, 620, 300
FLOOR = TOP + HEIGHT
LETTER = 6.4  # pixels of a name's letter
SECONDS = tuple(m * 10.0**e for e in range(-4, 4) for m in (1, 2, 5))


def front_chart(ranking: Sequence[Ranked], chosen: str) -> Chart:
    """Candidates that were tried on the same pictures → chart; names appear on hovering."""
    if not ranking:
        return empty("no candidate was tried")
    seconds = [max(one.seconds, 1e-4) for one in ranking]
    low, high = math.log(min(seconds) / 1.3), math.log(max(seconds) * 1.6)
    bottom = max(0.0, math.floor(20 * min(one.low for one in ranking)) / 20)

    def place(value: float, auroc: float) -> tuple[float, float]:
        x = LEFT + WIDTH * (math.log(max(value, 1e-4)) - low) / (high - low)
        return x, FLOOR - HEIGHT * (auroc - bottom) / (1 - bottom)

    shapes: list[Shape] = []
    for value in (one for one in SECONDS if low <= math.log(one) <= high):
        x, _ = place(value, 1)
        shapes += [line([(x, TOP), (x, FLOOR)], "grid")]
        shapes += [Text(x, FLOOR + 14, f"{value:g}", "faint", "middle")]
    for value in ticks(bottom, 1.0, 6):
        _, y = place(1, value)
        shapes += [line([(LEFT, y), (LEFT + WIDTH, y)], "grid")]
        shapes += [Text(LEFT - 6, y + 4, f"{value:.2f}", "faint", "end")]
    best = front(ranking)
    names = {one.name for one in best}
    shapes.append(line([place(one.seconds, one.auroc) for one in best], "curve series-0"))
    labels = Labels(TOP, FLOOR)
    for one in sorted(ranking, key=lambda one: (one.name == chosen, one.name in names)):
        x, y = place(one.seconds, one.auroc)
        look = "series-1" if one.name == chosen else "series-0" if one.name in names else "series-7"
        ends = [place(one.seconds, end) for end in (one.low, one.high)]
        tip = f"{one.name}: {one.auroc:.3f} ({one.low:.3f} to {one.high:.3f}), {one.seconds:.3g} s"
        shapes.append(line(ends, f"curve bundle {look}"))
        shapes.append(Circle(x, y, 6 if one.name == chosen else 4, f"swatch {look}", tip))
        if one.name in names:
            told = short(one.name, 44)
            beside = x < LEFT + 0.6 * WIDTH
            at = (x + 9, "start") if beside else (x - 9, "end")
            left = at[0] if beside else at[0] - LETTER * len(told)
            height = labels.place(left, left + LETTER * len(told), y - 8)
            shapes.append(Text(at[0], height, told, "", at[1], tip=tip))
    shapes.append(Text(LEFT + WIDTH / 2, FLOOR + 32, "seconds an image", "faint", "middle"))
    shapes.append(Text(LEFT, TOP - 4, "planted AUROC", "faint small"))
    return Chart(LEFT + WIDTH + 14, FLOOR + 40, "candidates by AUROC and seconds", tuple(shapes))
