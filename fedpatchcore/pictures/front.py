"""Candidates as points of seconds and planted AUROC, the front as a line through the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from fedpatchcore.pictures.canvas import FAINT
from fedpatchcore.pictures.plots import COLOURS, Plot
from fedpatchcore.tuning.ranking import Ranked, front

__all__ = ["front_picture"]

SIZE = 980, 520
SECONDS = tuple(m * 10.0**e for e in range(-4, 4) for m in (1, 2, 5))


def front_picture(ranking: Sequence[Ranked], chosen: str) -> Image.Image:
    """What a tune found, drawn from the candidates of its last step."""
    seconds = [max(one.seconds, 1e-4) for one in ranking]
    low, high = min(seconds) / 1.3, max(seconds) * 1.6
    bottom = max(0.0, math.floor(20 * min(one.low for one in ranking)) / 20)
    plot = Plot(
        SIZE,
        f"Chosen: {chosen}",
        "Planted image AUROC with 90% intervals, against the time of one picture on this machine",
        x=(low, high),
        y=(bottom, 1.0),
        labels=("seconds from file to score, one picture at a time", "planted AUROC"),
        ticks=(
            [one for one in SECONDS if low <= one <= high],
            [round(bottom + at * (1 - bottom) / 5, 3) for at in range(6)],
        ),
        told=(lambda value: f"{value:g}", lambda value: f"{value:.2f}"),
        log=True,
    )
    best = front(ranking)
    plot.curve([one.seconds for one in best], [one.auroc for one in best], COLOURS[0], 1.4)
    names = {one.name for one in best}
    for one in sorted(ranking, key=lambda one: one.name in names):
        color = COLOURS[1] if one.name == chosen else COLOURS[0] if one.name in names else FAINT
        plot.upright(one.seconds, one.low, one.high, color)
        plot.point(one.seconds, one.auroc, color, 6 if one.name == chosen else 4)
        if one.name in names:
            plot.words(one.seconds, one.auroc, one.name, color)
    return plot.picture()
