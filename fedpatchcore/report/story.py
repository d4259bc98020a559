"""What the report's sections are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedpatchcore.detection.settings import DetectionSettings
from fedpatchcore.metrics.comparison import used
from fedpatchcore.report.pictures import Pictures

__all__ = ["MANY_SITES", "WEAKEST", "WITHHELD", "Story"]

MANY_SITES = 12  # above this, all but the weakest sites are behind a line that opens them
WEAKEST = 5
TARGET = DetectionSettings().target_fpr  # of runs that do not say theirs
WITHHELD = "withheld"  # told instead of a figure that a private site keeps


@dataclass(frozen=True)
class Story:
    """What the report tells.

    Attributes:
        header: of the bank, see `MemoryBank.header`.
        privacy: content of ``privacy.json``, see `privacy_report`; empty without one.
        virtual: whether sites have their own folders within the run's, in a simulation.
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
    privacy: Mapping[str, Any] = field(default_factory=dict)
    virtual: bool = False

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """One record a round."""
        return list(self.metrics.get("rounds") or [])

    @property
    def private(self) -> bool:
        """Whether sites answered with differential privacy: they told no counts of images."""
        return self.config.get("dp", "off") != "off"

    @property
    def withholds(self) -> bool:
        """Whether sites also kept every figure of an evaluation that training images shape."""
        return self.private and not self.config.get("dp-share-metrics")

    @property
    def summed(self) -> bool:
        """Whether no site tells figures or shows pictures of its own: totals alone are known."""
        return bool(self.config.get("secure-figures"))

    @property
    def target(self) -> float:
        """Share of false alarms that was asked for."""
        return float(self.config.get("target-fpr") or TARGET)

    @property
    def bank_rows(self) -> int:
        """Rows of all sections."""
        return sum(part["rows"] for part in self.header["sections"])

    def results(self, product: str) -> dict[str, Mapping[str, Any]]:
        """What each site's evaluation said of a product, by site."""
        return {
            site: told["products"][product]
            for site, told in sorted((self.last.get("evaluate") or {}).items())
            if product in (told.get("products") or {})
        }

    @property
    def totals(self) -> Mapping[str, Mapping[str, Any]]:
        """By product what all sites' figures add up to, where no site tells its own."""
        return (self.last.get("figures") or {}).get("products") or {}

    def pooled(self, product: str) -> dict[str, Mapping[str, Any]]:
        """What the pooled baseline reached on each site's test images of a product, by site."""
        every = self.metrics.get("pooled") or {}
        return {site: told[product] for site, told in every.items() if product in told}

    def products(self) -> list[str]:
        """Products that some site evaluated."""
        return sorted({row["product"] for row in self.rows})

    def uses(self, method: str) -> bool:
        """Whether any site has a figure of this method."""
        return used((r for r in self.rows if r["kind"] == "site"), method)

    def means(self) -> list[dict[str, Any]]:
        """The row of means of each product."""
        return [r for r in self.rows if r["kind"] == "mean"]
