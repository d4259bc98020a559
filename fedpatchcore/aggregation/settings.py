"""Settings of the aggregation."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedpatchcore.aggregation.registry import AGGREGATIONS
from fedpatchcore.settings import Settings, setting

__all__ = ["AggregationSettings"]


class AggregationSettings(Settings):
    """How one bank comes of the sites' coresets."""

    title: ClassVar[str] = "Aggregation"

    aggregation: str = setting(
        "federated_coreset",
        "how the bank comes of the sites' coresets",
        words=AGGREGATIONS,
    )
    robustness_aggregation: str = setting(
        "site_vote",
        "the aggregation in force while robustness-enabled",
        words=[one.name for one in AGGREGATIONS.values() if one.robust],
    )
    weighted_by_samples: bool = setting(False, "sites count by their images instead of equally")
    tolerated_sites: int = setting(
        1,
        "faulty sites that a robust aggregation must withstand; it needs twice as many and one",
        ge=0,
    )
    single_source: Literal["admit", "drop"] = setting(
        "admit", "rows of products made at too few sites for a median: admit flagged, or drop"
    )
    server_memory_gb: float = setting(
        0.0,
        "GB for the rows of a section while they are merged; 0: a quarter of the machine, "
        "at most 2",
        ge=0,
    )
