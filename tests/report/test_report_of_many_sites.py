"""Few sites or a thousand: record and report grow with the sites, not with their square."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fedpatchcore.report.page import build_report
from fedpatchcore.server.acceptance import evaluate_record
from fedpatchcore.wire.messages import COVERAGE_SITES, EvaluateReply, ProductResult
from tests.support.pages import page_of
from tests.support.runfolders import make_run


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("products", [("tile",), ("tile", "nut", "bolt")])
def test_any_number_of_sites(tmp_path, count, products):
    sites = [f"plant-{at:02d}" for at in range(count)]
    page = page_of(make_run(tmp_path / "run", sites, products, pooled=count == 2))
    assert ("all 50 sites" in page.words) == (count == 50)
    assert ("At a glance" in page.words) == (len(products) > 1)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in page.named("a")} == set(ids)
    assert page.words.count("plant-00") > 5


def test_long_lists_of_trouble_are_cut(tmp_path):
    lost = {f"plant-{at:02d}": "no reply" for at in range(30)}
    changes = {"lost": lost, "absent": ["plant-00"]}
    run = make_run(tmp_path / "run", ["a", "b"], record_changes=changes)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"keep-absent-sites": False}))
    page = page_of(run)
    assert page.words.count("was lost") == 20 and "and 10 more" in page.words
    assert "site plant-00 was absent: its rows left the bank" in page.words


def test_the_record_of_many_sites_grows_with_their_number(tmp_path: Path) -> None:
    """Who covers whom is sites × sites counts; of many sites each keeps its own and the largest."""

    def record(count: int, own: int) -> dict:
        sites = [f"site-{at:04d}" for at in range(count)]
        counts = tuple(range(1, count + 1))
        result = ProductResult("plate", coverage=counts)
        return evaluate_record(EvaluateReply(sites[own], (result,)), sites)["products"]["plate"]

    assert record(COVERAGE_SITES, 3)["coverage"] == tuple(range(1, COVERAGE_SITES + 1))
    assert record(61, 3)["coverage"] == {
        "patches": 61 * 31,
        "sites": {"site-0003": 4} | {f"site-{at:04d}": at + 1 for at in (60, 59, 58, 57, 56)},
    }
    small, large = (len(json.dumps(record(count, 3))) for count in (100, 1000))
    assert large < small + 50


def test_a_shortened_record_is_reported_as_a_whole_one(tmp_path: Path) -> None:
    sites = [f"site-{at:04d}" for at in range(150)]
    counts = (0,) * 7 + (300, 100) + (0,) * 141
    rows = []
    for name, coverage in (
        ("whole", counts),
        ("shortened", {"patches": 400, "sites": {"site-0008": 100, "site-0007": 300}}),
    ):
        folder = make_run(tmp_path / name, sites, changes={"coverage": coverage})
        text = build_report(folder).read_text()
        table = text[text.index('id="coverage"') : text.index('id="bank"')]
        rows.append(table[table.rindex("site-0008") :])
    assert rows[0] == rows[1]


def test_a_thousand_sites_are_told_without_a_million_cells(tmp_path: Path) -> None:
    """Coverage is sites × sites: the report must not grow with the square."""
    sites = [f"site-{at:04d}" for at in range(150)]
    counts = (0,) * 7 + (300, 100) + (0,) * 141
    folder = make_run(tmp_path / "run", sites, changes={"coverage": counts})
    text = build_report(folder).read_text()
    coverage = text[text.index('id="coverage"') : text.index('id="bank"')]
    assert len(coverage) < 150 * 250
    row = coverage[coverage.rindex("site-0008") :]
    cells = re.findall(r"<td[^>]*>(?:<[^>]*>)?([^<]*)", row)[:4]
    assert cells == ["25 %", "75 %", "site-0007", "75 %"]
