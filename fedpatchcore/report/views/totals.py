"""One product where figures were added up under masks: all sites together, and no site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.metrics.comparison import shown
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.report.charts.histogram import histogram_chart
from fedpatchcore.report.charts.roc import roc_chart
from fedpatchcore.report.charts.shapes import Chart, drawn
from fedpatchcore.report.model import LEFT_OUT, Section, Table, row, table
from fedpatchcore.report.story import Story
from fedpatchcore.report.words import FURTHER, reason_of

__all__ = ["Together", "added_up"]

BARS = 40
MEANS = {
    "image_auroc": "image AUROC",
    "local_image_auroc": "image AUROC of the site's own bank",
    "hybrid_image_auroc": "image AUROC of both banks together",
    "pixel_auroc": "pixel AUROC",
    "local_pixel_auroc": "pixel AUROC of the site's own bank",
    "hybrid_pixel_auroc": "pixel AUROC of both banks together",
    **FURTHER,
    "promised_fpr": "promised false alarms",
}


@dataclass(frozen=True)
class Together:
    """What the section shows.

    Attributes:
        sites: that judged test images; ``decided``: those of them that have a threshold.
        counts: verdicts of all sites.
        means: over the sites that have each figure.
        auroc, off: over all sites' test images, and the bound on its error.
    """

    sites: int
    decided: int
    counts: Table
    means: Table
    auroc: str
    off: str
    roc: Chart
    histogram: Chart


def added_up(story: Story) -> list[Section]:
    """A section for each product."""
    found = []
    for at, (name, told) in enumerate(sorted(story.totals.items())):
        try:
            view: object = _view(told)
            template = "totals.html.j2"
        except Exception as error:
            view, template = reason_of(error), LEFT_OUT
        found.append(Section(name, f"product-{at}", template, view))
    return found


def _view(told: Mapping[str, Any]) -> Together:
    rates = [("test images", f"{told['good']:,} good, {told['defective']:,} defective")]
    for name, key in (("defects found", "defects_found"), ("good parts stopped", "good_stopped")):
        rates.append((name, str(Rate(told[key]["count"], told[key]["of"]))))
    local = Rate(told["local_true_positives"], told["local_defective"])
    if told["local_decided"]:
        false = Rate(told["local_false_positives"], told["local_good"])
        rates += [("defects found by the sites' own banks", str(local))]
        rates += [("good parts stopped by the sites' own banks", str(false))]
    if planted := sum(told["planted_of"]):
        rates.append(("planted defects found", str(Rate(sum(told["planted_found"]), planted))))
    means = [
        row(words, shown(told["means"][name]["mean"]), told["means"][name]["sites"])
        for name, words in MEANS.items()
        if name in told["means"]
    ]
    auroc, off = told["auroc"], told["auroc_off"]
    known = isinstance(auroc, float) and math.isfinite(auroc)
    return Together(
        told["tested"],
        told["decided"],
        table(["all sites together", ""], [row(*one) for one in rates]),
        table(["mean over sites", "", "sites"], means),
        shown(auroc) if known else "",
        f"{off:.1g}" if known else "",
        drawn(roc_chart, {f"all sites  {shown(auroc)}": told["roc"]}),
        _histogram(told["histogram"]),
    )


def _histogram(told: Mapping[str, Any]) -> Chart:
    edges = np.asarray(told["edges"], float)
    if len(edges) < 2:
        return drawn(histogram_chart, (), (), 0.0, None)
    middles, top = np.sqrt(edges[1:] * edges[:-1]), float(edges[-1])
    bars = [
        np.histogram(middles, BARS, (0, top), weights=np.asarray(told[name], float))[0]
        for name in ("good", "defective")
    ]
    return drawn(histogram_chart, *bars, top, None)
