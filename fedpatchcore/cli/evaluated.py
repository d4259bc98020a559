"""What an evaluation found of a product, and its tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import number
from fedpatchcore.cli.planted_found import Planted
from fedpatchcore.cli.results import VERDICTS
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.verdicts import Verdict

__all__ = ["Limit", "Measured", "kinds_table", "scores_table", "verdicts_table"]

FIGURES = ("image_auroc", "average_precision", "f1_best", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class Limit:
    """The score that decides; NaN without one.

    Attributes:
        source: who set it.
        promise: None where it is not one site's own.
        promises: of all thresholds that it is made of, by site.
    """

    value: float = math.nan
    source: str = ""
    promise: Promise | None = None
    promises: Mapping[str, Promise] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One product; ``verdict`` is None without a threshold, or without test images."""

    product: str
    good: int
    defective: int
    limit: Limit
    verdict: Verdict | None
    figures: Mapping[str, float]
    planted: Planted | None = None

    def told(self) -> dict[str, Any]:
        """As one JSON object."""
        promise = asdict(self.limit.promise) if self.limit.promise else None
        verdict = self.verdict.told() if self.verdict else dict.fromkeys(Verdict().told())
        return {
            "product": self.product,
            "good": self.good,
            "defective": self.defective,
            "threshold": _known(self.limit.value),
            "set_by": self.limit.source or None,
            "promise": promise and {name: _known(value) for name, value in promise.items()},
            **verdict,
            **{name: _known(self.figures.get(name, math.nan)) for name in FIGURES},
            **({"planted": self.planted.told()} if self.planted else {}),
        }


def verdicts_table(measured: Iterable[Measured]) -> Table:
    table = Table(title=VERDICTS, title_justify="left")
    for column in ("product", "threshold", "set by", "defects found", "good stopped", "promised"):
        table.add_column(column, justify="left" if column in ("product", "set by") else "right")
    for one in measured:
        source, promise = one.limit.source, one.limit.promise
        promised = str(promise) if promise else "–"
        found, stopped = one.verdict.found.brief, one.verdict.stopped.brief
        limit = number(one.limit.value, 4)
        table.add_row(escape(one.product), limit, escape(source), found, stopped, promised)
    return table


def kinds_table(measured: Iterable[Measured]) -> Table:
    table = Table(title="by kind of defect, the worst first", title_justify="left")
    for column in ("product", "kind of defect", "found"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for one in measured:
        for at, (kind, rate) in enumerate(one.verdict.worst_first):
            table.add_row("" if at else escape(one.product), escape(kind), str(rate))
        table.add_section()
    return table


def scores_table(measured: Iterable[Measured]) -> Table:
    table = Table(title="scores", title_justify="left")
    for column in ("product", "good", "defective", *FIGURES):
        justify = "left" if column == "product" else "right"
        table.add_column(column.replace("_", " "), justify=justify)
    for one in measured:
        figures = [number(one.figures.get(name, math.nan)) for name in FIGURES]
        table.add_row(escape(one.product), str(one.good), str(one.defective), *figures)
    return table


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
