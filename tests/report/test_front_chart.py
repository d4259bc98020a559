"""The chart of a tune: the front's names stand where none covers another."""

from __future__ import annotations

from itertools import combinations

from fedpatchcore.report.charts.front import LETTER, front_chart
from fedpatchcore.report.charts.shapes import Text
from fedpatchcore.tuning.ranking import Ranked


def test_names_of_candidates_alike_do_not_cover_each_other() -> None:
    ranking = [
        Ranked(
            f"image-size=448 neighbours={at}",
            0.887 + 1e-4 * at,
            0.84,
            0.93,
            0.0,
            0.0,
            0.0,
            0.090 + 1e-3 * at,
            10**9,
            24,
        )
        for at in range(6)
    ]
    chart = front_chart(ranking, ranking[-1].name)
    names = [one for one in chart.shapes if isinstance(one, Text) and "neighbours" in one.words]
    assert len(names) == 6
    boxes = []
    for one in names:
        width = LETTER * len(one.words)
        left = one.x if one.anchor == "start" else one.x - width
        boxes.append((left, left + width, one.y))
    for (left, right, y), (begin, end, at) in combinations(boxes, 2):
        assert abs(y - at) >= 12 or right <= begin or end <= left
