"""All products in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import METHODS, shown, weakest
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
    head += [method_head(m, "mean") for m in methods]
    head += ["weakest site", method_head("federated", "there")]
    rows = [
        row(mean["product"], mean["sites"], *figures(mean, methods), *_weakest(story, mean))
        for mean in story.means()
    ]
    overall = {m: mean_of([r[m] for r in story.means()]) for m in methods}
    rows.append(row("mean of the products", "", *figures(overall, methods), "", "", look="sum"))
    return [Section("At a glance", "", "glance.html.j2", Glance(methods, table(head, rows)))]


def _weakest(story: Story, mean: Mapping[str, Any]) -> tuple[str, str]:
    """The site with the lowest federated figure of a product, and that figure."""
    found = weakest(r for r in story.rows if r["product"] == mean["product"])
    return ("–", "–") if found is None else (found["site"], shown(found["federated"]))
