"""Charts: right shapes for their values, names from outside never markup."""

from __future__ import annotations

from math import nan as NAN

import numpy as np

from fedpatchcore.report.charts.comparison import comparison_chart
from fedpatchcore.report.charts.coverage import coverage_chart
from fedpatchcore.report.charts.histogram import histogram_chart
from fedpatchcore.report.charts.roc import roc_chart
from fedpatchcore.report.charts.shapes import Chart
from fedpatchcore.report.render import environment


def drawn(chart: Chart) -> str:
    """The chart as the template draws it."""
    return str(environment().get_template("chart.html.j2").module.chart(chart))


def roc_figure(*told) -> str:
    return drawn(roc_chart(*told))


def histogram_figure(*told) -> str:
    return drawn(histogram_chart(*told))


def coverage_figure(*told) -> str:
    return drawn(coverage_chart(*told))


def comparison_figure(*told) -> str:
    return drawn(comparison_chart(*told))


def test_roc_figure_leaves_undefined_curves_out():
    straight = [at / 100 for at in range(101)]
    picture = roc_figure({"a": straight, "<b>": [1.0] * 101, "c": [None] * 101, "d": []})
    assert picture.count("<path") == 10 + 1 + 2  # grid, diagonal, two curves
    assert "&lt;b&gt;" in picture and "<b>" not in picture
    assert "no ROC curve" in roc_figure({"c": [NAN] * 101})


def test_roc_figure_of_many_sites_is_a_bundle_with_its_mean():
    picture = roc_figure({f"site {at}": [at / 50] * 101 for at in range(50)})
    assert "mean of the sites" in picture and "50 sites" in picture


def test_histogram_figure_marks_the_threshold():
    good, bad = [0] * 10 + [5] * 30, [0] * 30 + [2] * 10
    assert "threshold 0.6" in histogram_figure(good, bad, 1.0, 0.6)
    for none in (None, NAN):
        assert "threshold" not in histogram_figure(good, bad, 1.0, none)
    assert "threshold 4" in histogram_figure(good, bad, 1.0, 4.0)  # beyond every score
    assert "no test images" in histogram_figure([0] * 40, [0] * 40, 0.0, None)
    histogram_figure(good, [0] * 40, 1.0, NAN)


def test_coverage_figure_in_numbers_or_in_shades():
    matrix = np.array([[0.75, 0.25], [NAN, NAN]])
    picture = coverage_figure(matrix, ["a", "<b>"])
    assert "75%" in picture and "<b>" not in picture and picture.count("<rect") == 2
    big = coverage_figure(np.eye(50), [f"site {at}" for at in range(50)])
    assert big.count("<rect") == 2500
    assert "merged" in coverage_figure(np.full((2, 2), NAN), ["a", "b"])


def test_a_chart_tells_the_style_sheet_its_width():
    chart = coverage_chart(np.eye(12), [f"site {at}" for at in range(12)])
    assert f'style="--width:{round(chart.width)}px"' in drawn(chart)
    assert "var(--width)" in environment().globals["asset"]("report.css")


def test_comparison_figure():
    rows = [{"site": "a&b", "local": 0.5, "federated": 0.75, "pooled": NAN}]
    picture = comparison_figure(rows)
    assert "a&amp;b" in picture and "federated, a&amp;b: 0.750" in picture
    assert "pooled" not in picture
    assert "no AUROC" in comparison_figure([dict(rows[0], local=NAN, federated=NAN)])
