"""What both banks of a site decide by when they judge together: the hybrid's threshold."""

from __future__ import annotations

from dataclasses import dataclass

from fedpatchcore.metrics.comparison import shown
from fedpatchcore.report.model import Table, method_head, row, table
from fedpatchcore.report.story import MANY_SITES, Story

__all__ = ["Hybrid", "hybrid"]


@dataclass(frozen=True)
class Hybrid:
    """Thresholds of the hybrid by site.

    Attributes:
        table: None where they stay at the sites.
        scaled: whether both banks' scores are brought to one scale; else they are L2 distances.
    """

    table: Table | None
    scaled: bool


def hybrid(story: Story, product: str) -> Hybrid | None:
    """Of one product; None where no site judges by both banks."""
    if story.withholds:
        compared = story.config.get("compare-local", True)
        return Hybrid(None, scaled=True) if compared else None
    results = story.results(product)
    if all(r.get("hybrid_threshold") is None for r in results.values()):
        return None
    rows = [
        row(site, _limit(result.get("hybrid_threshold")), shown(result.get("hybrid_image_auroc")))
        for site, result in results.items()
    ]
    head = ["site", method_head("hybrid", "threshold"), method_head("hybrid", "image AUROC")]
    fold = f"all {len(rows)} sites" if len(rows) > MANY_SITES else ""
    return Hybrid(table(head, rows, fold=fold), scaled=story.private)


def _limit(threshold: float | None) -> str:
    return f"{threshold:.4g}" if threshold is not None else "–"
