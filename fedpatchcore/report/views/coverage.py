"""Whose bank rows are nearest to whose normal patches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.report.charts.coverage import coverage_chart
from fedpatchcore.report.charts.shapes import Chart, drawn
from fedpatchcore.report.model import Row, Section, Table, row, table
from fedpatchcore.report.story import Story
from fedpatchcore.report.words import percent
from fedpatchcore.wire.messages import COVERAGE_SITES

__all__ = ["Coverage", "coverage"]

HEAD = ("images of", "nearest to its own rows", "to those of others", "most to", "share")


@dataclass(frozen=True)
class Coverage:
    """A figure of few sites, a table of many; neither if withheld, or if no site told."""

    withheld: bool
    chart: Chart | None = None
    table: Table | None = None


def coverage(story: Story) -> list[Section]:
    """Whose bank rows are nearest to whose normal patches."""
    return [Section("Coverage", "coverage", "coverage.html.j2", _view(story))]


def _view(story: Story) -> Coverage:
    if story.withholds:
        return Coverage(withheld=True)
    columns = story.header["sites"]
    totals: dict[str, Counter[str]] = {}  # of each site by site of the bank; "" counts all
    for site, told in sorted((story.last.get("evaluate") or {}).items()):
        for result in (told.get("products") or {}).values():
            if counts := _counted(result.get("coverage") or (), columns):
                totals[site] = totals.get(site, Counter()) + counts
    if not totals:
        return Coverage(withheld=False)
    if max(len(totals), len(columns)) > COVERAGE_SITES:  # a figure has sites × sites cells
        rows = [_explained(site, counts) for site, counts in totals.items()]
        return Coverage(False, table=table(HEAD, rows, fold=f"all {len(rows)} sites"))
    matrix = np.array([[_share(c[name], c) for name in columns] for c in totals.values()])
    return Coverage(False, chart=drawn(coverage_chart, matrix, list(totals), columns))


def _counted(told: Any, columns: list[str]) -> Counter[str]:
    """Counts in either form of `evaluate_record`; empty if they are of another bank."""
    if isinstance(told, Mapping):
        return Counter({"": told["patches"], **told["sites"]})
    if len(told) != len(columns):
        return Counter()
    return Counter({"": sum(told), **dict(zip(columns, told, strict=True))})


def _explained(site: str, counts: Counter[str]) -> Row:
    others = [(n, name) for name, n in counts.items() if name not in ("", site)]
    most, name = max(others, default=(0, "–"), key=lambda one: one[0])
    own = counts[site]
    of_own, of_others, of_most = (_share(n, counts) for n in (own, counts[""] - own, most))
    return row(site, percent(of_own), percent(of_others), name, percent(of_most))


def _share(count: int, counts: Counter[str]) -> float:
    return count / counts[""] if counts[""] else math.nan
