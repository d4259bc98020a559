"""Which planted defects the thresholds of a product's sites find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.planted_found import (
    LIMITS,
    Line,
    PlantedFound,
    total_found,
    without_curve,
)
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.report.charts.pod import pod_chart
from fedpatchcore.report.charts.shapes import Chart, drawn
from fedpatchcore.report.model import Row, Table, row, table
from fedpatchcore.report.story import MANY_SITES

__all__ = ["Planted", "planted"]

ENDS = ("a50", "a90", "a90/95")


@dataclass(frozen=True)
class Planted:
    """Over all sites, and site by site.

    Attributes:
        notes: why a line has no curve.
        sites: None with one site alone.
    """

    all: PlantedFound
    table: Table
    chart: Chart
    sites: Table | None
    notes: list[str]
    limits: str


def planted(results: Mapping[str, Mapping[str, Any]]) -> Planted | None:
    """From the results of a product, by site; None where none was planted."""
    own = {
        site: found
        for site, result in results.items()
        if (found := PlantedFound.of_result(result, CELLS)) is not None
    }
    if not own:
        return None
    every = total_found(own.values())
    sizes = sorted({size for _, size, _ in every.cells})
    lines = every.lines()
    head = ["", "defects", *(f"{100 * size:g}%" for size in sizes), "all", *ENDS]
    fold = f"all {len(own)} sites" if len(own) > MANY_SITES else ""
    return Planted(
        all=every,
        table=table(head, [_line(one, sizes) for one in lines], left=2),
        chart=drawn(pod_chart, lines),
        sites=table(
            ["site", "pictures", "stopped as they are", "planted found", *ENDS],
            [_site(site, found) for site, found in own.items()],
            fold=fold,
        )
        if len(own) > 1
        else None,
        notes=without_curve(lines),
        limits=LIMITS,
    )


def _line(one: Line, sizes: list[float]) -> Row:
    counts = [one.sizes[s].counts if s in one.sizes else "–" for s in sizes]
    what = "" if one.what == "all" else one.what
    look = "sum" if one.what == "all" else ""
    return row(what, one.name, *counts, one.found.counts, *one.ends, look=look)


def _site(site: str, found: PlantedFound) -> Row:
    pictures = f"{found.pictures:,}{' (learnt from)' if found.learnt else ''}"
    return row(site, pictures, found.stopped.counts, str(found.found), *found.lines()[0].ends)
