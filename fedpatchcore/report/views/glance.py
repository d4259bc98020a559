"""All products in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import METHODS, shown, weakest
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.report.model import Section, Table, figures, method_head, row, table
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.tiles import mean_of

__all__ = ["Glance", "glance"]


@dataclass(frozen=True)
class Glance:
    """The table, the methods in it, and whether it has no verdicts."""

    methods: list[str]
    withheld: bool
    table: Table


def glance(story: Story) -> list[Section]:
    """All products in one table; nothing for a single product."""
    if len(story.products()) < 2:
        return []
    methods = [m for m in METHODS if m == "federated" or story.uses(m)]
    head = ["product", "sites", *([] if story.withholds else ["defects found", "good stopped"])]
    head += [method_head(m, "mean") for m in methods]
    head += ["weakest site", method_head("federated", "there")]
    rows = [
        row(
            mean["product"],
            mean["sites"],
            *_verdicts(story, [mean]),
            *figures(mean, methods),
            *_weakest(story, mean),
        )
        for mean in story.means()
    ]
    overall = {m: mean_of([r[m] for r in story.means()]) for m in methods}
    told = _verdicts(story, story.means())
    rows.append(row("all products", "", *told, *figures(overall, methods), "", "", look="sum"))
    return [
        Section(
            "At a glance", "", "glance.html.j2", Glance(methods, story.withholds, table(head, rows))
        )
    ]


def _verdicts(story: Story, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Defects found and good parts stopped in these rows of means; nothing where withheld."""
    if story.withholds:
        return []
    rates = [sum((Rate(*r[n]) for r in rows if r[n]), Rate(0, 0)) for n in ("found", "stopped")]
    return [rate.brief for rate in rates]


def _weakest(story: Story, mean: Mapping[str, Any]) -> tuple[str, str]:
    """The site with the lowest federated figure of a product, and that figure."""
    found = weakest(r for r in story.rows if r["product"] == mean["product"])
    return ("–", "–") if found is None else (found["site"], shown(found["federated"]))
