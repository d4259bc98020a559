"""Probability of detection against size, kind by kind, as one picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fedpatchcore.metrics.detection_probability import NoPod, Pod
from fedpatchcore.metrics.planted_found import Line, PlantedFound
from fedpatchcore.metrics.rates import percent
from fedpatchcore.pictures.canvas import FAINT, INK
from fedpatchcore.pictures.plots import COLOURS, Plot

__all__ = ["pod_picture"]

SIZE = 900, 500
STEPS = 80


def pod_picture(title: str, found: PlantedFound, real: Pod | NoPod | None = None) -> Image.Image:
    """Curves where the trials determine them, shares found where they do not.

    Args:
        real: of real defects, by the extent of their masks; named without a curve if it has none.
    """
    lines = [one for one in found.lines() if one.what != "contrast"]
    sizes = sorted({size for _, size, _ in found.cells})
    low, high = sizes[0] / 1.25, sizes[-1] * 1.25
    extra = 1 if real is not None else 0
    plot = Plot(
        SIZE,
        title,
        f"{found.found.of:,} planted defects in {found.pictures:,} pictures of good parts, "
        f"of which {found.stopped.count:,} are stopped as they are",
        x=(low, high),
        y=(0.0, 1.0),
        labels=("size: largest extent, share of the picture's shorter side", "found"),
        ticks=(sizes, [0, 0.25, 0.5, 0.75, 0.9, 1]),
        told=(percent, lambda value: f"{value:.0%}"),
        log=True,
        below=len(lines) + extra,
    )
    legend = []
    for at, one in enumerate(lines):
        color = INK if one.what == "all" else COLOURS[(at - 1) % len(COLOURS)]
        _draw(plot, one, color, low, high)
        legend.append((color, _words(one)))
    if real is not None:
        told = f"real defects with a mask: {real.hits} of {real.trials} found"
        if isinstance(real, Pod):
            xs = np.geomspace(low, high, STEPS)
            plot.curve(xs.tolist(), real.at(xs).tolist(), FAINT, 2)
        else:
            told += f"; no curve: {real.reason}"
        legend.append((FAINT, told))
    plot.legend(legend)
    return plot.picture()


def _draw(plot: Plot, one: Line, color: str, low: float, high: float) -> None:
    wide = 3 if one.what == "all" else 1.8
    if isinstance(one.curve, Pod):
        grid = np.geomspace(low, high, STEPS)
        plot.curve(grid.tolist(), one.curve.at(grid).tolist(), color, wide)
        if one.what == "all":
            plot.curve(grid.tolist(), one.curve.lowest(grid).tolist(), "#9aa8b8", 1.2)
    for size, rate in one.sizes.items():
        plot.point(size, rate.share, color, 4 if one.what == "all" else 3)


def _words(one: Line) -> str:
    told = f"{one.name}: {one.found.counts} found"
    if isinstance(one.curve, Pod):
        half, nine, sure = one.ends
        told += f"; a50 {half}, a90 {nine}, a90/95 {sure}"
        return told + (" (thin line: the curve's lower 95% bound)" if one.what == "all" else "")
    return f"{told}; no curve: {one.curve.reason}"
