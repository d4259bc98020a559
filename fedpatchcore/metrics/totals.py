"""Figures of sites that add up: whole numbers of one site in, figures of all sites out.

What adds up exactly are counts: test images, verdicts, planted defects, and a histogram of scores
over bins that are the same everywhere. Of the histogram come the ROC curve and the AUROC over all
sites' images together, with a bound on its error: images of both kinds that share a bin count half,
and no order of theirs could move the area by more than half of all such pairs. AUROCs of sites and
the like are added as multiples of 2^-32 beside the number of sites that have them, and so give
means over sites.

Bins: 64 an octave from 2^-12 to 2^12, which is 1.1% of a score; scores beyond fall into the bins at
the ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.rates import Rate

__all__ = ["BINS", "COUNTS", "MEANS", "Totals", "bin_edges", "length", "numbers_of"]

COUNTS = (
    "tested",  # 1: the site judged test images of the product
    "good",
    "defective",
    "decided",  # 1: it has a threshold
    "true_positives",
    "false_negatives",
    "false_positives",
    "true_negatives",
    "local_decided",
    "local_good",
    "local_defective",
    "local_true_positives",
    "local_false_positives",
    "planted_pictures",
    "planted_stopped",
    "planted_learnt",
)
MEANS = (
    "image_auroc",
    "average_precision",
    "f1_best",
    "pixel_auroc",
    "aupro",
    "spro_001",
    "spro_005",
    "spro_01",
    "spro_03",
    "spro_1",
    "promised_fpr",
    "local_image_auroc",
    "local_average_precision",
    "local_pixel_auroc",
    "hybrid_image_auroc",
    "hybrid_average_precision",
    "hybrid_pixel_auroc",
)
FINE = 2**32  # steps of 1 in which shares are added
AN_OCTAVE, LOWEST, OCTAVES = 64, -12, 24
BINS = AN_OCTAVE * OCTAVES
POINTS = 101  # of the ROC curve


def length(cells: int) -> int:
    """Numbers of one product, where planted defects come in so many cells."""
    return len(COUNTS) + 2 * len(MEANS) + 2 * cells + 2 * BINS


def bin_edges() -> np.ndarray:
    """Scores between which the bins lie, float64 ``[BINS + 1]``."""
    return 2.0 ** (LOWEST + np.arange(BINS + 1) / AN_OCTAVE)


def numbers_of(
    result: Mapping[str, Any], scores: np.ndarray, labels: np.ndarray, *, cells: int
) -> np.ndarray:
    """What one site adds for a product, int64 ``[length(cells)]``.

    Args:
        result: of its evaluation; None and NaN say nothing.
        scores: of its test images, float ``[N]``; empty where it has none.
        labels: bool ``[N]``, True for defective.
    """
    counts = {name: int(result.get(name) or 0) for name in COUNTS}
    counts["tested"] = int(counts["good"] + counts["defective"] > 0)
    counts["decided"] = int(_known(result.get("threshold")))
    own = counts["local_decided"] = int(_known(result.get("local_threshold")))
    counts |= {f"local_{name}": own * counts[name] for name in ("good", "defective")}
    shares = [result.get(name) for name in MEANS]
    if not counts["decided"]:
        shares[MEANS.index("promised_fpr")] = None
    known = [int(_known(one)) for one in shares]
    sums = [round(one * FINE) if there else 0 for one, there in zip(shares, known, strict=True)]
    planted = [list(result.get(f"planted_{what}") or [0] * cells) for what in ("found", "of")]
    histograms = [_counted(scores[labels == which]) for which in (False, True)]
    parts = ([counts[name] for name in COUNTS], known, sums, *planted, *histograms)
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


def _known(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _counted(scores: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        at = np.floor((np.log2(np.maximum(scores, 0.0)) - LOWEST) * AN_OCTAVE)
    return np.bincount(np.clip(at, 0, BINS - 1).astype(np.int64), minlength=BINS)


@dataclass(frozen=True)
class Totals:
    """All sites together.

    Attributes:
        counts: by name of `COUNTS`; those of "tested", "decided" … are numbers of sites.
        means: by name of `MEANS` the mean over the sites that have one, and how many these are.
        planted_found, planted_of: by cell.
        good, defective: histograms of scores, int64 ``[BINS]``.
    """

    counts: Mapping[str, int]
    means: Mapping[str, tuple[float, int]]
    planted_found: tuple[int, ...]
    planted_of: tuple[int, ...]
    good: np.ndarray
    defective: np.ndarray

    @classmethod
    def of_sum(cls, numbers: np.ndarray, *, cells: int) -> Totals:
        """From added-up numbers of sites. Raises DataError for what no sites add up to."""
        sizes = (len(COUNTS), len(MEANS), len(MEANS), cells, cells, BINS, BINS)
        if numbers.shape != (sum(sizes),) or numbers.dtype != np.int64:
            raise DataError(f"figures of {numbers.dtype} {numbers.shape}")
        counts, known, sums, found, of, good, defective = np.split(numbers, np.cumsum(sizes)[:-1])
        told = dict(zip(COUNTS, counts.tolist(), strict=True))
        means = {
            name: (total / FINE / n if n else math.nan, n)
            for name, n, total in zip(MEANS, known.tolist(), sums.tolist(), strict=True)
        }
        if (
            numbers.min() < 0
            or good.sum() != told["good"]
            or defective.sum() != told["defective"]
            or (found > of).any()
            or any(n and not 0 <= mean <= 1 for mean, n in means.values())
        ):
            raise DataError("figures that do not agree with each other")
        return cls(told, means, tuple(found.tolist()), tuple(of.tolist()), good, defective)

    @property
    def found(self) -> Rate:
        """Of the defects, by the thresholds of the sites that have one."""
        true = self.counts["true_positives"]
        return Rate(true, true + self.counts["false_negatives"])

    @property
    def stopped(self) -> Rate:
        """Of the good parts: false alarms."""
        false = self.counts["false_positives"]
        return Rate(false, false + self.counts["true_negatives"])

    @property
    def auroc(self) -> tuple[float, float]:
        """Over all sites' test images by their scores, and by how much it may be off.

        NaN where one kind is absent.
        """
        pairs = int(self.good.sum()) * int(self.defective.sum())
        if not pairs:
            return math.nan, math.nan
        good, defective = self.good.astype(np.float64), self.defective.astype(np.float64)
        below, tied = np.cumsum(good) - good, float(good @ defective)
        return (float(below @ defective) + tied / 2) / pairs, tied / 2 / pairs

    @property
    def roc(self) -> list[float]:
        """True-positive rates at evenly spaced false-positive rates, by the bins."""
        if not (self.good.any() and self.defective.any()):
            return [math.nan] * POINTS
        false, true = (
            np.concatenate([[0], np.cumsum(one[::-1])]) / one.sum()
            for one in (self.good, self.defective)
        )
        last = np.append(np.diff(false) > 0, True)  # of a vertical rise the upper end
        grid = np.linspace(0, 1, POINTS)
        return np.interp(grid, false[last], true[last]).tolist()

    def __str__(self) -> str:
        """Verdicts and AUROC of how many sites, in words."""
        rates = (("defects found", self.found), ("good parts stopped", self.stopped))
        told = [f"{what} {rate}" for what, rate in rates if rate.of]
        (auroc, off), (mean, sites) = self.auroc, self.means["image_auroc"]
        if math.isfinite(auroc):
            told.append(f"AUROC over all images {auroc:.3f} ± {off:.1g}")
        if sites:
            told.append(f"mean of {sites} sites' AUROC {mean:.3f}")
        return "; ".join(told) or "no test images"

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        (auroc, off), bins = self.auroc, np.flatnonzero(self.good + self.defective)
        first, last = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 0)
        return {
            **self.counts,
            "defects_found": self.found.told(),
            "good_stopped": self.stopped.told(),
            "auroc": auroc,
            "auroc_off": off,
            "roc": self.roc,
            "means": {n: {"mean": mean, "sites": k} for n, (mean, k) in self.means.items() if k},
            "planted_found": list(self.planted_found),
            "planted_of": list(self.planted_of),
            "histogram": {
                "edges": bin_edges()[first : last + 1].tolist(),
                "good": self.good[first:last].tolist(),
                "defective": self.defective[first:last].tolist(),
            },
        }
