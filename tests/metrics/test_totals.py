"""Figures that add up: counts exactly, AUROC within its stated error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.curves import image_auroc, roc_points
from fedpatchcore.metrics.totals import BINS, MEANS, Totals, bin_edges, length, numbers_of

CELLS = 3


def site(rng: np.random.Generator, good: int, bad: int, *, apart: float = 1.0, **more):
    """A site's scores, labels and result."""
    scores = np.concatenate([rng.gamma(9, 0.1, good), rng.gamma(9, 0.1, bad) + 0.3 * apart])
    labels = np.arange(good + bad) >= good
    over = scores > 1.1
    result = {
        "good": good,
        "defective": bad,
        "threshold": 1.1,
        "true_positives": int((over & labels).sum()),
        "false_negatives": int((~over & labels).sum()),
        "false_positives": int((over & ~labels).sum()),
        "true_negatives": int((~over & ~labels).sum()),
        "image_auroc": image_auroc(scores, labels),
        "promised_fpr": 0.05,
        **more,
    }
    return scores, labels, result


def added(sites) -> Totals:
    parts = [numbers_of(result, s, y, cells=CELLS) for s, y, result in sites]
    return Totals.of_sum(np.sum(parts, axis=0), cells=CELLS)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_of_the_histogram_is_the_exact_one_within_its_stated_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    apart = rng.uniform(-1, 3)
    sites = [site(rng, *rng.integers(1, 60, 2), apart=apart) for _ in range(rng.integers(1, 9))]
    scores, labels = (np.concatenate([one[at] for one in sites]) for at in (0, 1))
    if seed % 3 == 0:  # coarse scores: many ties within a bin
        sites = [(np.round(s, 1), y, r) for s, y, r in sites]
        scores = np.round(scores, 1)
    auroc, off = added(sites).auroc
    exact = image_auroc(scores, labels)
    assert abs(auroc - exact) <= off + 1e-12
    assert off < 0.03 or seed % 3 == 0


def test_the_stated_error_is_reached_and_no_larger() -> None:
    """All pairs in one bin: the area says a half, and may be anything."""
    edges = bin_edges()
    inside = np.linspace(edges[700], edges[701], 12)[1:-1]
    labels = np.arange(10) >= 5
    for scores, exact in ((inside, 1.0), (inside[::-1], 0.0)):
        result = {"good": 5, "defective": 5}
        auroc, off = added([(scores, labels, result)]).auroc
        assert (auroc, off) == (0.5, 0.5) and image_auroc(scores, labels) == exact


def test_counts_add_up_and_means_are_over_the_sites_that_have_one() -> None:
    rng = np.random.default_rng(5)
    sites = [site(rng, 10, 20), site(rng, 5, 4), site(rng, 7, 0, threshold=math.nan)]
    sites[2][2].update(true_negatives=0, false_positives=0)
    totals = added(sites)
    first, second = sites[0][2], sites[1][2]
    assert totals.counts["tested"] == 3 and totals.counts["decided"] == 2
    assert (totals.counts["good"], totals.counts["defective"]) == (22, 24)
    assert totals.found.count == first["true_positives"] + second["true_positives"]
    assert totals.found.of == 24 and totals.stopped.of == 15
    mean, n = totals.means["image_auroc"]
    assert n == 2
    assert mean == pytest.approx((first["image_auroc"] + second["image_auroc"]) / 2, abs=2**-32)
    assert totals.means["promised_fpr"] == (pytest.approx(0.05, abs=2**-32), 2)
    assert totals.means["aupro"][1] == 0 and math.isnan(totals.means["aupro"][0])


def test_roc_follows_the_exact_curve() -> None:
    rng = np.random.default_rng(3)
    one = site(rng, 400, 400)
    _, exact = roc_points(one[0], one[1], 101)
    roc = np.array(added([one]).roc)
    assert roc[0] >= 0 and roc[-1] == 1 and (np.diff(roc) >= 0).all()
    assert np.abs(roc - exact).max() < 0.03
    assert all(math.isnan(r) for r in added([site(rng, 4, 0)]).roc)


def test_scores_beyond_the_bins_are_counted_at_their_ends() -> None:
    scores, labels = np.array([0.0, 1e-9, 1e9, 2.0]), np.array([False, False, True, True])
    totals = added([(scores, labels, {"good": 2, "defective": 2})])
    assert totals.good[0] == 2 and totals.defective[BINS - 1] == 1
    assert totals.auroc == (1.0, 0.0)
    edges = bin_edges()
    at = int(np.flatnonzero(totals.defective)[0])
    assert edges[at] <= 2.0 < edges[at + 1]


@pytest.mark.parametrize(
    "bend",
    [
        lambda v: v[:-1],
        lambda v: v.astype(np.float64),
        lambda v: np.where(np.arange(len(v)) == 1, 999, v),  # more good images than scores
        lambda v: np.where(np.arange(len(v)) == 4, -1, v),
        lambda v: np.where(np.arange(len(v)) == 16 + len(MEANS), 2**40, v),  # an AUROC of 256
    ],
)
def test_numbers_that_no_sites_add_up_to_are_refused(bend) -> None:
    good = numbers_of(
        site(np.random.default_rng(0), 5, 5)[2],
        *site(np.random.default_rng(0), 5, 5)[:2],
        cells=CELLS,
    )
    assert len(good) == length(CELLS)
    with pytest.raises(DataError, match="figures"):
        Totals.of_sum(bend(good), cells=CELLS)
