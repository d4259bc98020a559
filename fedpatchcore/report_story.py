"""What the report's sections are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedpatchcore.comparison import best, shown
from fedpatchcore.markup import Html, element, join
from fedpatchcore.report_pictures import Pictures

__all__ = ["MANY_SITES", "NAMES", "WEAKEST", "Story", "figures", "method_keys"]

MANY_SITES = 12  # above this, all but the weakest sites are behind a line that opens them
WEAKEST = 5
NAMES = {"local": "local only", "federated": "federated", "pooled": "pooled"}


@dataclass(frozen=True)
class Story:
    """What the report tells.

    Attributes:
        header: of the bank, see `MemoryBank.header`.
        last: record of the round whose figures are shown.
        rows: of `comparison_rows`.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    header: Mapping[str, Any]
    last: Mapping[str, Any]
    rows: list[dict[str, Any]]
    pictures: Pictures

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """One record a round."""
        return list(self.metrics.get("rounds") or [])

    def products(self) -> list[str]:
        """Products that some site evaluated."""
        return sorted({row["product"] for row in self.rows})

    def uses(self, method: str) -> bool:
        """Whether any site has a figure of this method."""
        return any(math.isfinite(r[method]) for r in self.rows if r["kind"] == "site")

    def summaries(self, kind: str) -> list[dict[str, Any]]:
        """The "mean" or "worst" row of each product."""
        return [r for r in self.rows if r["kind"] == kind]


def method_keys(method: str, what: str = "") -> Html:
    """A method's name with the sign it has in the charts."""
    name = element("span", NAMES[method], class_=f"key {method}")
    return join([Html(f"{what}<br>"), name]) if what else name


def figures(row: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    """Cells with a row's figures, the best of them marked."""
    tops = best(row, names)
    return [element("span", shown(row[n]), class_="top" if n in tops else "") for n in names]
