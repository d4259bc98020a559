"""Charts of the watch, as shapes that a template draws; words come from the page, translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedpatchcore.drift.proportions import Usual, shewhart
from fedpatchcore.report.charts.shapes import Chart, Circle, Shape, Text, empty, line, ticks

__all__ = ["rate_chart", "sum_chart"]

LEFT, TOP, WIDTH, HEIGHT = 40, 14, 440, 110
FLOOR = TOP + HEIGHT


def sum_chart(
    recent: Sequence[Sequence[Any]],
    figure: str,
    h: float,
    words: str,
    across: str = "",
    number: Callable[[str], str] = str,
) -> Chart:
    """The two sums of one figure over the last parts: up above the middle, down below it.

    Args:
        recent: of `fedpatchcore.drift.watch.Watch.recent`.
        words: what the chart is called; told instead of it where there is nothing to draw.
        across: name of the axis from left to right; from the bottom up it is standard deviations.
        number: how a number is written; `rate_chart` takes both too.
    """
    sums = [one[-1].get(figure) for one in recent]
    known = [(at, one) for at, one in enumerate(sums) if one is not None]
    if not known:
        return empty(words)
    top = max(h * 1.15, *(max(one) for _, one in known))
    first, last = known[0][0], max(known[-1][0], known[0][0] + 1)

    def place(at: float, value: float) -> tuple[float, float]:
        across = LEFT + WIDTH * (at - first) / (last - first)
        return across, TOP + HEIGHT / 2 * (1 - value / top)

    shapes: list[Shape] = []
    for value, look in ((h, "limit"), (-h, "limit"), (0.0, "axis")):
        y = place(first, value)[1]
        shapes.append(line([(LEFT, y), (LEFT + WIDTH, y)], look))
        shapes.append(
            Text(LEFT - 6, y + 4, number(f"{value:+g} σ" if value else "0"), "faint", "end")
        )
    for side, look in ((0, "curve series-1"), (1, "curve series-0")):
        sign = 1 if side == 0 else -1
        points = [place(at, sign * one[side]) for at, one in known]
        shapes.append(line(points, look))
        for at, one in known:
            if one[side] > h:
                tip = f"{recent[at][0]}"
                shapes.append(Circle(*place(at, sign * one[side]), 4, "swatch series-1", tip))
    for at in (first, last):
        if at < len(recent):
            anchor = "start" if at == first else "end"
            shapes.append(Text(place(at, 0)[0], FLOOR + 16, f"{recent[at][0]}", "faint", anchor))
    shapes.append(Text(LEFT + WIDTH / 2, FLOOR + 16, across, "faint", "middle"))
    return Chart(LEFT + WIDTH + 14, FLOOR + 22, words, tuple(shapes))


def rate_chart(
    groups: Sequence[Sequence[int]],
    usual: Usual | None,
    words: str,
    across: str = "",
    number: Callable[[str], str] = str,
) -> Chart:
    """Shares of stopped parts by group, with the usual one, three-sigma lines and what decides.

    Args:
        groups: ``[first, last, of, stopped]`` each.
    """
    if not groups:
        return empty(words)
    of = groups[-1][2]
    shares = [stopped / count for _, _, count, stopped in groups]
    limits = None if usual is None else [one / of for one in usual.limits(of)]
    lines = () if usual is None else shewhart(usual.rate, of)
    top = min(1.0, 1.15 * max(0.02, *shares, *lines, *(limits or ())))

    def place(at: float, share: float) -> tuple[float, float]:
        across = LEFT + WIDTH * (at + 0.5) / len(groups)
        return across, FLOOR - HEIGHT * share / top

    shapes: list[Shape] = []
    for tick in ticks(0, top, 4):
        y = place(0, tick)[1]
        shapes.append(line([(LEFT, y), (LEFT + WIDTH, y)], "grid"))
        shapes.append(Text(LEFT - 6, y + 4, number(f"{100 * tick:.3g}%"), "faint", "end"))
    if usual is not None and limits is not None:
        marks = ((usual.rate, "axis"), *((one, "chance") for one in lines), (limits[1], "limit"))
        for value, look in marks:
            y = place(0, value)[1]
            shapes.append(line([(LEFT, y), (LEFT + WIDTH, y)], look))
    shapes.append(line([place(at, one) for at, one in enumerate(shares)], "curve series-0"))
    for at, one in enumerate(shares):
        first, last, count, stopped = groups[at]
        beyond = limits is not None and not limits[0] <= one <= limits[1]
        look = "swatch series-1" if beyond else "swatch series-0"
        tip = f"{first}–{last}: {stopped} / {count}"
        shapes.append(Circle(*place(at, one), 4 if beyond else 3, look, tip))
    ends = ((0, "start", groups[0][0]), (len(groups) - 1, "end", groups[-1][1]))
    for at, anchor, number in ends[: 2 if len(groups) > 1 else 1]:
        shapes.append(Text(place(at, 0)[0], FLOOR + 16, f"{number}", "faint", anchor))
    shapes.append(Text(LEFT + WIDTH / 2, FLOOR + 16, across, "faint", "middle"))
    return Chart(LEFT + WIDTH + 14, FLOOR + 22, words, tuple(shapes))
