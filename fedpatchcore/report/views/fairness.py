"""How evenly the sites are served: who is served worst, by how much, and whether that is chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedpatchcore.metrics.comparison import NAMES
from fedpatchcore.metrics.fairness import FIGURES, Fairness, fairness, makers
from fedpatchcore.metrics.fairness_words import Words, difference, index, served_words
from fedpatchcore.report.model import Cell, Row, Section, Table, row, table
from fedpatchcore.report.story import WITHHELD, Story
from fedpatchcore.report.views.verdicts import MARK

__all__ = ["Served", "fairness_view"]

HEAD = ("figure", "worst served", "best served", "gap", "deviation", "Jain", "sites")
MOST_PRODUCTS = 200  # in the table: a page that opens


@dataclass(frozen=True)
class Served:
    """What the section shows.

    Attributes:
        words: the federated bank in one sentence.
        table: its figures over all products; None where fewer than two sites have any.
        products: the same of each product; None for a single product.
        banks: the same of each bank; None where there is one.
        more: products that are not in the table.
    """

    words: Words
    table: Table | None
    products: Table | None
    banks: Table | None
    more: int


def fairness_view(story: Story) -> list[Section]:
    """One section; nothing where nothing was evaluated."""
    banks = fairness(story.rows, makers(story.metrics))
    if "federated" not in banks:
        return []
    used = banks["federated"]
    names = list(used.products)[:MOST_PRODUCTS] if len(used.products) > 1 else []
    several = any(len(one.served) > 1 for one in used.all.values())
    by_product = [line for name in names for line in _group(name, used.products[name])]
    by_bank = [line for bank, one in banks.items() for line in _group(_bank(bank), one.all)]
    view = Served(
        words=served_words(used.all),
        table=table(HEAD, _lines(used.all)) if several else None,
        products=table(("product", *HEAD), by_product, left=2, fold="by product")
        if several and by_product
        else None,
        banks=table(("bank", *HEAD), by_bank, left=2, fold="every bank")
        if several and len(banks) > 1
        else None,
        more=max(0, len(used.products) - MOST_PRODUCTS),
    )
    return [Section("Fairness", "fairness", "fairness.html.j2", view)]


def _bank(name: str) -> Cell:
    return Cell(NAMES[name], f"key {name}")


def _group(name: str | Cell, figures: Mapping[str, Fairness]) -> list[Row]:
    """Lines of a product or bank, which is named in the first."""
    first = name if isinstance(name, Cell) else Cell(name)
    lines = enumerate(_lines(figures))
    return [Row((Cell("") if at else first, *line.cells)) for at, line in lines]


def _lines(figures: Mapping[str, Fairness]) -> list[Row]:
    return [_line(FIGURES[name], one) for name, one in figures.items()]


def _line(name: str, one: Fairness) -> Row:
    if one.withheld and not one.served:
        return row(name, WITHHELD, "", "", "", "", "0")
    gap = difference(one, one.gap)
    chance = {True: f"{gap} (chance)", False: Cell(f"{MARK} {gap}", "down"), None: gap}
    known = len(one.served) + len(one.missing) + len(one.withheld)
    count = f"{len(one.served)}" if len(one.served) == known else f"{len(one.served)} of {known}"
    return row(
        name,
        _site(one, one.worst),
        _site(one, one.best),
        chance[one.within_chance],
        difference(one, one.deviation),
        index(one.jain),
        count,
    )


def _site(one: Fairness, site: str | None) -> Cell:
    if site is None:
        return Cell("all alike" if len(one.served) > 1 else "–")
    return Cell(one.served[site], above=site)
