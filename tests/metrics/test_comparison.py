"""Alone, federated, hybrid and pooled side by side: rows, means, and who is best."""

from __future__ import annotations

import math
from math import nan as NAN

import pytest

from fedpatchcore.bank.section import SHARED as bank_shared
from fedpatchcore.metrics.comparison import SHARED, best, comparison_rows, shown, used, weakest


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
        ("tile", "a", "site"),
        ("tile", "b", "site"),
        ("tile", "mean", "mean"),
    ]
    a, b, mean = rows[2:]
    assert (a["local"], a["federated"], a["pooled"]) == (0.9, 0.8, 0.95)
    assert (a["good"], a["defective"]) == (5, 6)
    assert mean["local"] == pytest.approx(0.8) and mean["federated"] == pytest.approx(0.85)
    assert mean["pooled"] == pytest.approx(0.9) and mean["sites"] == 2
    assert weakest(rows) is a and weakest([b]) is b and weakest([mean]) is None
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
    a, b, mean = comparison_rows(metrics)
    assert (a["hybrid"], a["hybrid_pixel"], mean["hybrid"]) == (0.95, 0.8, 0.95)
    assert math.isnan(b["hybrid"]) and mean["sites"] == 1
    assert best(a) == {"hybrid"}
    assert used([a, b], "hybrid") and not used([b], "hybrid")


def test_banks_of_other_sizes_are_compared_at_the_federated_size_too():
    metrics = _metrics(
        {
            "a": _told(
                tile={
                    "image_auroc": 0.9,
                    "local_image_auroc": 0.8,
                    "local_equal_image_auroc": 0.7,
                    "local_rows": 500,
                }
            ),
            "b": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.6, "local_rows": 400}),
        },
        {s: {"tile": {"image_auroc": 0.95, "equal_image_auroc": 0.85, "rows": 500}} for s in "ab"},
    )
    metrics["rounds"][0]["sections"] = {"tile": {"rows": 400}}
    a, b, mean = comparison_rows(metrics)
    assert (a["local_rows"], b["local_rows"], mean["local_rows"]) == (500, 400, 0)
    assert a["federated_rows"] == mean["federated_rows"] == 400 and mean["pooled_rows"] == 500
    assert (a["local"], a["local_equal"]) == (0.8, 0.7) and math.isnan(b["local_equal"])
    assert mean["local_equal"] == pytest.approx(0.65)  # b's bank is as large as it is
    assert mean["pooled_equal"] == pytest.approx(0.85)
    metrics["rounds"][0]["evaluate"]["b"]["products"]["tile"]["local_rows"] = 300
    assert math.isnan(comparison_rows(metrics)[2]["local_equal"])  # b cannot be compared so
    metrics["rounds"][0]["sections"] = {SHARED: {"rows": 300}}
    assert comparison_rows(metrics)[0]["federated_rows"] == 300 and bank_shared == SHARED


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
