"""Whose bank rows explain whose images, as a matrix of shades."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedpatchcore.report.charts.shapes import Chart, Rect, Shape, Text, empty, name
from fedpatchcore.report.words import short

__all__ = ["coverage_chart"]

NUMBERED = 12  # sites; with more, the cells are too small for their figures
LONGEST = 20  # characters of a name


def coverage_chart(
    matrix: np.ndarray, sites: Sequence[str], bank_sites: Sequence[str] | None = None
) -> Chart:
    """Whose bank rows explain whose images → chart.

    Args:
        matrix: float ``[sites, bank sites]``, shares in [0, 1]; a row of NaN is left blank.
            Up to 12 sites are shown with their figures; of more, the largest share has the full
            colour and the figures appear on hovering.
        sites: names of the rows (whose images).
        bank_sites: names of the columns (whose bank rows); as ``sites`` if None.
    """
    columns = list(sites if bank_sites is None else bank_sites)
    shares = np.asarray(matrix, dtype=np.float64).reshape(len(sites), len(columns))
    if not shares.size or not np.isfinite(shares).any():
        return empty("no single site can be named: the rows of this bank are merged from several")
    numbered = max(len(sites), len(columns)) <= NUMBERED
    cell_x, cell_y = (62, 32) if numbered else (15, 15)
    left = 14 + _longest(sites) * 6.4
    roof = 34 if numbered else 24 + _longest(columns) * 5.6
    full = 1.0 if numbered else float(np.nanmax(shares)) or 1.0
    shapes: list[Shape] = []
    for at, site in enumerate(columns):
        x = left + (at + 0.5) * cell_x
        if numbered:
            shapes.append(name(x, roof - 8, site, 10, anchor="middle"))
        else:
            shapes.append(Text(x + 4, roof - 5, short(site, LONGEST), "faint small", turned=True))
    for at_row, site in enumerate(sites):
        y = roof + at_row * cell_y
        shapes.append(name(left - 8, y + cell_y / 2 + 4, site, LONGEST, anchor="end"))
        for at, share in enumerate(shares[at_row].tolist()):
            if not math.isfinite(share):
                continue
            x = left + at * cell_x
            tip = f"images of {site}: {share:.0%} nearest to rows of {columns[at]}"
            depth = round(0.05 + 0.95 * share / full, 3)
            shapes.append(Rect(x, y, cell_x - 2, cell_y - 2, 3, "shade", depth, tip))
            if numbered:
                look = "value on" if share > 0.7 else "value"
                shapes.append(Text(x + cell_x / 2 - 1, y + 20, f"{share:.0%}", look, "middle"))
    width, height = left + len(columns) * cell_x + 8, roof + len(sites) * cell_y + 6
    if not numbered:
        height += 18
        shapes.append(Text(left, height - 6, f"full colour: {full:.0%}", "faint"))
    return Chart(width, height, "coverage of sites by bank rows", tuple(shapes))


def _longest(names: Sequence[str]) -> int:
    return max(len(short(n, LONGEST)) for n in names)
