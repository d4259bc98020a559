"""What the runs of two banks measured, side by side: on the sites and products that both tested."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from fedpatchcore.errors import RunError
from fedpatchcore.texts import NAME, one_line

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank

__all__ = ["figures_of", "figures_table"]

Rows = dict[tuple[str, str], Mapping[str, Any]]  # by product and site


def figures_of(file: Path, bank: MemoryBank) -> tuple[Rows, str]:
    """Rows of a bank's run by product and site, or none and the reason.

    A bank file holds no figures of tests: they stand in ``metrics.json`` of the run's folder, and
    are this bank's where their round is its own.

    Raises:
        RunError: ``metrics.json`` beside the bank is damaged.
    """
    from fedpatchcore.metrics.comparison import comparison_rows, last_evaluated
    from fedpatchcore.sealed import read_sealed

    path = file.parent / "metrics.json"
    if not path.is_file():
        return {}, f"{file} lies in no finished run's folder, so there are no figures of it"
    metrics = read_sealed(path, error=RunError)
    try:
        number = (last_evaluated(metrics) or {}).get("round")
        rows = [row for row in comparison_rows(metrics) if row["kind"] == "site"]
    except Exception as error:  # whatever a file of another shape makes of it
        reason = one_line(repr(error), 200)
        raise RunError(f"{path} is damaged: it holds no records of rounds ({reason})") from None
    if not rows:
        return {}, f"{path} tells of no evaluation, so there are no figures of {file}"
    if number != bank.round:
        return {}, f"{path} tells of another round than {bank.round}, which made this bank"
    return {(row["product"], row["site"]): row for row in rows}, ""


def figures_table(first: Rows, other: Rows) -> Table | None:
    """By figure: the mean over sites, the worst site, gap, deviation and Jain's index of both.

    None where they have no site and product in common.
    """
    from fedpatchcore.metrics.fairness import FIGURES, fairness

    common = sorted(first.keys() & other.keys())
    if not common:
        return None
    banks = [fairness([rows[key] for key in common])["federated"].all for rows in (first, other)]
    left = len(first.keys() ^ other.keys())
    title = f"over {len(common)} pairs of site and product that both tested"
    table = Table(title=title + f" ({left} others left out)" * bool(left), title_justify="left")
    table.add_column("figure")
    table.add_column("")
    for column in ("first", "second"):
        table.add_column(column, justify="right")
    for name, title in FIGURES.items():
        table.add_section()
        for at, (what, told) in enumerate(WHAT.items()):
            cells = [_cell(bank[name], told) for bank in banks]
            table.add_row("" if at else title, what, *cells)
    return table


def _cell(one: Any, told: Any) -> str:
    if one.withheld and not one.served:
        return "withheld"
    return told(one)


def _shown(one: Any, value: float) -> str:
    from fedpatchcore.metrics.fairness_words import difference

    return difference(one, value)


def _worst(one: Any) -> str:
    if one.worst is None:
        return "all alike" if len(one.served) > 1 else "–"
    share = _shown(one, one.served[one.worst].share)
    return f"{escape(one_line(one.worst, NAME))}, {share}"


def _gap(one: Any) -> str:
    return _shown(one, one.gap) + " (within chance)" * bool(one.within_chance)


def _jain(one: Any) -> str:
    return f"{one.jain:.3f}" if math.isfinite(one.jain) else "–"


WHAT = {
    "mean over sites": lambda one: _shown(one, one.mean),
    "worst served": _worst,
    "gap": _gap,
    "deviation": lambda one: _shown(one, one.deviation),
    "Jain": _jain,
}
