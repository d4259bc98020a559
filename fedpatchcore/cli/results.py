"""What a run came to, on the console: verdicts first, how banks compare, how evenly they serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console, number
from fedpatchcore.metrics.comparison import EQUAL, METHODS, NAMES, used
from fedpatchcore.metrics.fairness import FIGURES, BankFairness, fairness
from fedpatchcore.metrics.fairness_words import difference, index, served_words
from fedpatchcore.metrics.rates import Rate, percent, spanned
from fedpatchcore.texts import NAME, one_line

__all__ = [
    "VERDICTS",
    "compared_table",
    "fairness_table",
    "print_results",
    "result_table",
    "verdict_table",
]

VERDICTS = "verdicts (in brackets: 90% intervals)"
ADDED_UP = "figures of all sites were added up under masks (secure-figures): no site's own is known"
FAIRNESS = "how evenly sites are served, over all products (~: a gap within chance)"


def print_results(
    rows: Iterable[Mapping[str, Any]], made: Mapping[str, Iterable[str]] | None = None
) -> None:
    """Print the tables of `comparison_rows`; those of verdicts only where there are any.

    Args:
        made: sites that make each product, where that is known: see `fairness`.
    """
    rows = list(rows)
    if any(row.get("found") or row.get("withheld") for row in rows):
        console.print(verdict_table(rows))
    if any(row["kind"] == "mean" and row.get("compared") for row in rows):
        console.print(compared_table(rows))
    console.print(result_table(rows))
    if rows and all(row["kind"] == "mean" for row in rows):
        console.print(ADDED_UP, markup=False)
    banks = fairness(rows, made)
    if "federated" not in banks or len({row["site"] for row in rows if row["kind"] == "site"}) < 2:
        return
    console.print(fairness_table(banks))
    console.print(str(served_words(banks["federated"].all)), markup=False)


def verdict_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """By product and site what the threshold found and stopped, and what it had promised.

    In brackets 90% intervals of the true shares. It fits a console of 80 columns.
    """
    table = _table(VERDICTS)
    for column in ("defects found", "good stopped", "promised"):
        table.add_column(column, justify="right")
    for row, names, style in _lines(table, rows):
        if row.get("withheld"):
            told = ["withheld"] * 3
        else:
            told = [_rate(row, "found").brief, _rate(row, "stopped").brief, _promised(row)]
        site = "all" if row["kind"] == "mean" else names[1]
        table.add_row(names[0], site, *told, style=style)
    return table


def _rate(row: Mapping[str, Any], name: str) -> Rate:
    return Rate(*(row.get(name) or (0, 0)))


def _promised(row: Mapping[str, Any]) -> str:
    if promised := row.get("promised"):
        return f"{percent(promised[0])} ({spanned(*promised[1:])})"
    return "" if row.get("kind") == "mean" else "–"


def compared_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """By product and bank what its own threshold found and stopped, all sites together.

    It fits a console of 80 columns.
    """
    table = Table(title="verdicts by bank, each at a threshold of its own", title_justify="left")
    for column in ("product", "bank"):
        table.add_column(column)
    for column in ("defects found", "good stopped", "promised"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["kind"] != "mean" or not row.get("compared"):
            continue
        table.add_section()
        shown = escape(row["product"])
        for bank, told in row["compared"].items():
            counts = [f"{told[name][0]:,} of {told[name][1]:,}" for name in ("found", "stopped")]
            table.add_row(shown, (NAMES | EQUAL)[bank], *counts, _promised(told))
            shown = ""
    return table


def result_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Local-only, federated and, where used, hybrid and pooled image AUROC by product and site.

    Where a bank was larger than the federated one, also its figure at equal size.
    """
    rows = [row for row in rows if row["kind"] in ("site", "mean")]
    always = ("local", "federated")
    methods = [name for name in METHODS if name in always or used(rows, name)]
    equal = [name for name in EQUAL if used(rows, name)]
    table = _table("image AUROC")
    for column in (*(NAMES[n] for n in methods), *(EQUAL[n] for n in equal)):
        table.add_column(column, justify="right")
    for row, names, style in _lines(table, rows):
        figures = [number(row.get(name)) for name in (*methods, *equal)]
        table.add_row(*names, *figures, style=style)
    return table


def fairness_table(banks: Mapping[str, BankFairness]) -> Table:
    """By bank and figure who is served worst, over all products; see `fairness`."""
    table = Table(title=FAIRNESS, title_justify="left")
    for column in ("bank", "figure", "worst served"):
        table.add_column(column)
    for column in ("gap", "deviation", "Jain"):
        table.add_column(column, justify="right")
    for bank, told in banks.items():
        table.add_section()
        for at, (name, one) in enumerate(told.all.items()):
            first = "" if at else NAMES[bank]
            if one.withheld and not one.served:
                table.add_row(first, FIGURES[name], "withheld")
                continue
            gap = difference(one, one.gap) + " ~" * bool(one.within_chance)
            worst = "all alike" if len(one.served) > 1 else "–"
            if one.worst is not None:
                share = difference(one, one.served[one.worst].share)
                worst = f"{escape(one_line(one.worst, NAME))}, {share}"
            figures = (gap, difference(one, one.deviation), index(one.jain))
            table.add_row(first, FIGURES[name], worst, *figures)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("product", "site"):
        table.add_column(column)
    return table


def _lines(
    table: Table, rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], tuple[str, str], str | None]]:
    """Rows with the names of product and site, a line between products, and a style."""
    last = None
    for row in rows:
        if row["kind"] not in ("site", "mean"):
            continue
        if last not in (None, row["product"]):
            table.add_section()
        shown = row["product"] if row["product"] != last else ""
        last = row["product"]
        names = escape(one_line(shown, NAME)), escape(one_line(row["site"], NAME))
        yield row, names, "bold" if row["kind"] == "mean" else None
