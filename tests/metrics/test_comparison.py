"""Alone, federated, hybrid and pooled side by side: rows, means, and who is best."""

from __future__ import annotations

import math
from math import nan as NAN

import pytest

from fedpatchcore.metrics.comparison import best, comparison_rows, shown, used


def _metrics(evaluate: dict, pooled: dict | None = None) -> dict:
    return {"rounds": [{"round": 1, "evaluate": evaluate}], "pooled": pooled}


def _told(**products: dict) -> dict:
    return {"products": products}


def test_comparison_rows_by_hand():
    metrics = _metrics(
        {
            "b": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.7, "pixel_auroc": 0.8}),
            "a": _told(
                tile={"image_auroc": 0.8, "local_image_auroc": 0.9, "good": 5, "defective": 6},
                nut={"image_auroc": 1.0, "local_image_auroc": None},
            ),
        },
        {"a": {"tile": {"image_auroc": 0.95}}, "b": {"tile": {"image_auroc": 0.85}}},
    )
    rows = comparison_rows(metrics)
    assert [(r["product"], r["site"], r["kind"]) for r in rows] == [
        ("nut", "a", "site"),
        ("nut", "mean", "mean"),
        ("nut", "worst", "worst"),
        ("tile", "a", "site"),
        ("tile", "b", "site"),
        ("tile", "mean", "mean"),
        ("tile", "worst", "worst"),
    ]
    a, _, mean, worst = rows[3:]
    assert (a["local"], a["federated"], a["pooled"]) == (0.9, 0.8, 0.95)
    assert (a["good"], a["defective"]) == (5, 6)
    assert mean["local"] == pytest.approx(0.8) and mean["federated"] == pytest.approx(0.85)
    assert mean["pooled"] == pytest.approx(0.9) and mean["sites"] == 2
    assert (worst["local"], worst["federated"], worst["pooled"]) == (0.7, 0.8, 0.85)
    assert math.isnan(mean["hybrid"]) and math.isnan(a["hybrid_pixel"])
    assert mean["federated_pixel"] == 0.8 and math.isnan(mean["local_pixel"])
    assert math.isnan(rows[0]["local"]) and rows[1]["federated"] == 1.0


def test_means_rest_on_the_same_sites_in_every_column():
    metrics = _metrics(
        {
            "a": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.8}),
            "new": _told(tile={"image_auroc": 0.5, "local_image_auroc": None}),
        }
    )
    mean = comparison_rows(metrics)[2]
    assert (mean["local"], mean["federated"], mean["sites"]) == (0.8, 0.9, 1)


def test_the_hybrid_is_a_column_like_the_others():
    hybrid = {"hybrid_image_auroc": 0.95, "hybrid_pixel_auroc": 0.8}
    metrics = _metrics(
        {
            "a": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.8, **hybrid}),
            "b": _told(tile={"image_auroc": 0.5, "local_image_auroc": 0.6}),
        }
    )
    a, b, mean, _ = comparison_rows(metrics)
    assert (a["hybrid"], a["hybrid_pixel"], mean["hybrid"]) == (0.95, 0.8, 0.95)
    assert math.isnan(b["hybrid"]) and mean["sites"] == 1
    assert best(a) == {"hybrid"}
    assert used([a, b], "hybrid") and not used([b], "hybrid")


def test_the_last_round_that_was_evaluated_counts():
    metrics = _metrics({"a": _told(tile={"image_auroc": 0.9})})
    metrics["rounds"].append({"round": 2, "evaluate": {}})
    assert comparison_rows(metrics)[0]["federated"] == 0.9
    assert comparison_rows({"rounds": []}) == []


def test_best_of_a_row_is_judged_as_printed():
    row = {"local": 0.9, "federated": 0.95012, "pooled": 0.95049}
    assert best(row) == {"federated", "pooled"}
    assert best({"local": NAN, "federated": 0.9, "pooled": NAN}) == set()
    assert shown(NAN) == shown(None) == "–"
    assert shown(0.98765) == "0.988"
