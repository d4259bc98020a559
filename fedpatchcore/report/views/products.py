"""One product: what is found, who gains, what it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import EQUAL, METHODS, NAMES, PIXEL_METHODS, shown, used
from fedpatchcore.report.charts.comparison import comparison_chart
from fedpatchcore.report.charts.shapes import Chart, drawn
from fedpatchcore.report.model import (
    LEFT_OUT,
    Cell,
    Row,
    Section,
    Table,
    figures,
    method_head,
    row,
    table,
)
from fedpatchcore.report.story import MANY_SITES, WEAKEST, Story
from fedpatchcore.report.views.cases import Cases, cases
from fedpatchcore.report.views.hybrid import Hybrid, hybrid
from fedpatchcore.report.views.planted import Planted, planted
from fedpatchcore.report.views.scores import Scores, rank, scores
from fedpatchcore.report.views.totals import added_up
from fedpatchcore.report.views.verdicts import Verdicts, verdicts
from fedpatchcore.report.words import FURTHER, reason_of

__all__ = ["Comparison", "Product", "products"]

MOST_COLUMNS = 6  # with more, headings are short, or the table is wider than the page
MOST_DRAWN = 200  # products with a section of their own: a page that opens


@dataclass(frozen=True)
class Comparison:
    """AUROC by site and method.

    Attributes:
        long: whether the title says what the columns are.
        table: all sites.
        weakest: of many sites the weakest, with the mean of all; else None.
        sizes: how large the banks are that were compared; empty where not told.
        equal: whether columns show larger banks cut to the size of the federated one.
    """

    hybrid: bool
    long: bool
    sites: int
    table: Table
    weakest: Table | None
    chart: Chart
    sizes: str
    equal: bool


@dataclass(frozen=True)
class Product:
    """What a product's section shows.

    ``verdicts`` is None where they are withheld, ``planted`` where no defect was planted,
    ``hybrid`` where no site judges by both banks.
    """

    verdicts: Verdicts | None
    planted: Planted | None
    hybrid: Hybrid | None
    comparison: Comparison
    scores: Scores | None
    further: Table | None
    cases: Cases | None


@dataclass(frozen=True)
class Further:
    """So many products are drawn, the weakest, and so many are not."""

    drawn: int
    more: int


def products(story: Story) -> list[Section]:
    """A section for each product; of very many, those whose federated figures are lowest."""
    if story.totals:
        return added_up(story)
    names = story.products()
    if len(names) > MOST_DRAWN:
        means = {told["product"]: rank(told["federated"]) for told in story.means()}
        weak = sorted(names, key=lambda name: means.get(name, rank(None)))[:MOST_DRAWN]
        names = [name for name in names if name in set(weak)]
    found = [_section(story, name, f"product-{at}") for at, name in enumerate(names)]
    if more := len(story.products()) - len(names):
        view = Further(len(names), more)
        found.append(Section("Further products", "further", "further.html.j2", view))
    return found


def _section(story: Story, name: str, anchor: str) -> Section:
    try:
        return Section(name, anchor, "product.html.j2", _product(story, name))
    except Exception as error:
        return Section(name, anchor, LEFT_OUT, reason_of(error))


def _product(story: Story, product: str) -> Product:
    results = story.results(product)
    return Product(
        verdicts=None
        if story.withholds
        else verdicts(results, story.target, story.pooled(product)),
        planted=planted(results),
        hybrid=hybrid(story, product),
        comparison=_comparison(story, product),
        scores=scores(results),
        further=_further(results),
        cases=cases(story.pictures, product),
    )


def _comparison(story: Story, product: str) -> Comparison:
    rows = [r for r in story.rows if r["product"] == product]
    sites = [r for r in rows if r["kind"] == "site"]
    image = [m for m in METHODS if m == "federated" or story.uses(m)]
    pixel = [m for m in PIXEL_METHODS if used(sites, m)]
    equal = [m for m in EQUAL if used(sites, m)]
    alone = any(r["local_rows"] for r in sites)
    unit = "" if len(image) + len(pixel) + len(equal) > MOST_COLUMNS else " AUROC"
    head = ["site", "good", "defective", *(["own rows"] if alone else [])]
    head += [method_head(m, f"image{unit}") for m in image]
    head += [method_head(m.removesuffix("_equal"), f"image{unit}, equal size") for m in equal]
    head += [method_head(m.removesuffix("_pixel"), f"pixel{unit}") for m in pixel]

    def line(told: Mapping[str, Any]) -> Row:
        of_site = told["kind"] == "site"
        name = told["site"] if of_site else _mean_name(told, len(sites))
        cells = figures(told, image) + [Cell(shown(told[m])) for m in equal]
        cells += figures(told, pixel)
        tested = [f"{told['good']:,}", f"{told['defective']:,}"]
        tested += [f"{told['local_rows']:,}" if told["local_rows"] else "–"] if alone else []
        return row(name, *tested, *cells, look="" if of_site else "sum")

    summary = [line(r) for r in rows if r["kind"] != "site"]
    lines = [line(r) for r in sites]
    weakest = None
    if len(sites) > MANY_SITES:
        weak = sorted(sites, key=lambda r: rank(r["federated"]))[:WEAKEST]
        weakest = table(head, [*map(line, weak), *summary])
    elif len(sites) > 1:
        lines += summary
    return Comparison(
        hybrid=story.uses("hybrid"),
        long=not unit,
        sites=len(sites),
        table=table(head, lines),
        weakest=weakest,
        chart=drawn(comparison_chart, sites),
        sizes=_sizes(sites),
        equal=bool(equal),
    )


def _mean_name(told: Mapping[str, Any], count: int) -> str:
    return "mean" if told["sites"] == count else f"mean ({told['sites']} of {count} sites)"


def _sizes(sites: list[dict[str, Any]]) -> str:
    """``local only 400 to 600 rows, federated 1,500``: what stands behind the figures."""
    told = []
    for method in ("local", "federated", "pooled"):
        counts = sorted({r[f"{method}_rows"] for r in sites if r[f"{method}_rows"]})
        if counts:
            span = " to ".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
            told.append(f"{NAMES[method]} {span}")
    return ", ".join(told)


def _further(results: Mapping[str, Mapping[str, Any]]) -> Table | None:
    known = [n for n in FURTHER if any(r.get(n) is not None for r in results.values())]
    if not known:
        return None
    rows = [row(site, *(shown(r.get(n)) for n in known)) for site, r in results.items()]
    head = ["site", *map(FURTHER.__getitem__, known)]
    return table(head, rows, fold="further metrics of the federated bank")
