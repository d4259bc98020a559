"""All products in one table."""

from __future__ import annotations

from dataclasses import dataclass

from fedpatchcore.metrics.comparison import METHODS
from fedpatchcore.report.model import Section, Table, figures, method_head, row, table
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.headline import mean_of

__all__ = ["Glance", "glance"]


@dataclass(frozen=True)
class Glance:
    """The table, and the methods in it."""

    methods: list[str]
    table: Table


def glance(story: Story) -> list[Section]:
    """All products in one table; nothing for a single product."""
    if len(story.products()) < 2:
        return []
    methods = [m for m in METHODS if m == "federated" or story.uses(m)]
    head = ["product", "sites"]
    head += [method_head(m, what) for what in ("mean", "worst site") for m in methods]
    rows = [
        row(mean["product"], mean["sites"], *figures(mean, methods), *figures(worst, methods))
        for mean, worst in zip(story.summaries("mean"), story.summaries("worst"), strict=True)
    ]
    overall = {m: mean_of([r[m] for r in story.summaries("mean")]) for m in methods}
    blank = [""] * len(methods)
    rows.append(row("mean of the products", "", *figures(overall, methods), *blank, look="sum"))
    return [Section("At a glance", "", "glance.html.j2", Glance(methods, table(head, rows)))]
