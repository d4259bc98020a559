"""Image scores of a product: ROC curves, and histograms by site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import shown
from fedpatchcore.report.charts.histogram import histogram_chart
from fedpatchcore.report.charts.roc import roc_chart
from fedpatchcore.report.charts.shapes import Chart, drawn
from fedpatchcore.report.story import MANY_SITES

__all__ = ["Scores", "rank", "scores"]

SHOWN = 4  # histograms of the weakest of many sites


@dataclass(frozen=True)
class Histogram:
    """Scores of one site, and how many images they are of."""

    site: str
    good: int
    defective: int
    chart: Chart


@dataclass(frozen=True)
class Scores:
    """Charts of a product's scores; ``every`` holds all histograms if not all are shown."""

    roc: Chart
    histograms: list[Histogram]
    every: list[Histogram]


def scores(results: Mapping[str, Mapping[str, Any]]) -> Scores | None:
    """From the results of a product, by site; None without a test image."""
    tested = {s: r for s, r in results.items() if r.get("good") or r.get("defective")}
    if not tested:
        return None
    curves = {
        f"{site}  {shown(r.get('image_auroc'))}": r.get("roc") or () for site, r in results.items()
    }
    histograms = [_histogram(s, r) for s, r in tested.items()]
    if len(tested) <= MANY_SITES:
        return Scores(drawn(roc_chart, curves), histograms, [])
    weak = sorted(tested, key=lambda s: rank(tested[s].get("image_auroc")))[:SHOWN]
    return Scores(drawn(roc_chart, curves), [_histogram(s, tested[s]) for s in weak], histograms)


def rank(figure: float | None) -> float:
    """Order from the weakest up, undefined figures last."""
    return math.inf if figure is None or not math.isfinite(figure) else figure


def _histogram(site: str, result: Mapping[str, Any]) -> Histogram:
    chart = drawn(
        histogram_chart,
        result.get("histogram_good") or (),
        result.get("histogram_defective") or (),
        result.get("histogram_top") or 0.0,
        result.get("threshold"),
    )
    return Histogram(site, result.get("good") or 0, result.get("defective") or 0, chart)
