"""What each bank's own threshold decided: the site's own, the federated, the pooled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpatchcore.metrics.compared import Judged, judged_by, together
from fedpatchcore.metrics.comparison import EQUAL, NAMES
from fedpatchcore.metrics.rates import percent, spanned
from fedpatchcore.report.model import Cell, Row, Table, row, table
from fedpatchcore.report.story import MANY_SITES

__all__ = ["by_bank"]

HEAD = ("bank", "promised (true)", "false alarms", "missed defects")
TITLES = NAMES | EQUAL


def by_bank(
    results: Mapping[str, Mapping[str, Any]], pooled: Mapping[str, Mapping[str, Any]]
) -> list[Table]:
    """Banks side by side, over the sites that all of them have judged, and by site.

    Args:
        results: of a product, by site.
        pooled: of the pooled baseline for this product, by site.
    """
    judged = {site: judged_by(result, pooled.get(site) or {}) for site, result in results.items()}
    every = together(judged.values())
    if not every:
        return []
    own = {site: told for site, told in judged.items() if told.keys() >= every.keys()}
    if len(own) == 1:
        return [table(HEAD, [row(*_cells(*one)) for one in every.items()])]
    fold = f"all {len(own)} sites" if len(own) > MANY_SITES else "by site"
    lines = [line for site, told in own.items() for line in _lines(site, told)]
    return [
        table(HEAD, [row(*_cells(*one)) for one in every.items()]),
        table(("site", *HEAD), lines, left=2, fold=fold),
    ]


def _lines(site: str, told: Mapping[str, Judged]) -> list[Row]:
    return [row(site if at == 0 else "", *_cells(*one)) for at, one in enumerate(told.items())]


def _cells(bank: str, judged: Judged) -> tuple[Cell, ...]:
    promised = f"{percent(judged.promised)} ({spanned(judged.low, judged.high)})"
    figures = (promised, judged.verdict.stopped, judged.verdict.missed)
    name = Cell(TITLES[bank], f"key {bank.removesuffix('_equal')}")
    return (name, *(Cell(str(one)) for one in figures))
