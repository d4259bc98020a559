"""What views are made of: sections, tables and their cells. Values only, no markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import NAMES, best, shown

__all__ = ["LEFT_OUT", "Cell", "Row", "Section", "Table", "figures", "method_head", "row", "table"]

LEFT_OUT = "left_out.html.j2"  # template of a section that cannot be drawn; its view is the reason


@dataclass(frozen=True)
class Section:
    """A section of the page: its template is rendered with ``view``.

    Attributes:
        anchor: its id and its link at the top of the page; "" for neither.
    """

    title: str
    anchor: str
    template: str
    view: object


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        look: CSS class of the text.
        above: a line over it, in headings.
        share: drawn as a bar before the text, unless None.
    """

    text: object
    look: str = ""
    above: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table; ``look`` is its CSS class."""

    cells: tuple[Cell, ...]
    look: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first ``left`` columns are text.

    Attributes:
        fold: if not empty, the line that opens the table.
        is_open: whether it is open from the beginning.
    """

    head: tuple[Cell, ...]
    rows: tuple[Row, ...]
    left: int = 1
    fold: str = ""
    is_open: bool = False


def row(*values: object, look: str = "") -> Row:
    """A line of plain values and `Cell`s."""
    return Row(tuple(v if isinstance(v, Cell) else Cell(v) for v in values), look)


def table(
    head: Sequence[object],
    rows: Iterable[Row],
    *,
    left: int = 1,
    fold: str = "",
    is_open: bool = False,
) -> Table:
    """A `Table` under headings that are plain values or `Cell`s."""
    return Table(row(*head).cells, tuple(rows), left, fold, is_open)


def method_head(method: str, above: str) -> Cell:
    """A method's name with the sign it has in the charts."""
    return Cell(NAMES[method], f"key {method}", above)


def figures(values: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
    """Cells with a row's figures, the best of them marked."""
    tops = best(values, names)
    return [Cell(shown(values[n]), "top" if n in tops else "") for n in names]
