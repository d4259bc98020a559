"""Pictures of the report: copied from the sites, shared out, or said to be elsewhere."""

from __future__ import annotations

import json

from fedpatchcore.report.page import build_report
from tests.support.pages import page_of
from tests.support.runfolders import add_pictures, make_run


def test_without_pictures_it_says_where_they_are(tmp_path):
    run = make_run(tmp_path / "night-3", ["a", "b"])
    page = page_of(run)
    assert "Pictures of single images stay at the sites." in page.words
    assert "night-3/heatmaps" in page.words
    assert not (run / "heatmaps").exists() and not page.named("img")


def test_pictures_are_copied_and_shown(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"])
    add_pictures(run, "a", "tile")
    add_pictures(run, "b", "tile")
    page = page_of(run)
    assert len(page.named("img")) == 6
    names = {f"{s}-{k}-1.png" for s in "ab" for k in ("best", "worst", "median")}
    assert {p.name for p in (run / "heatmaps").iterdir()} == names
    (run / "heatmaps" / "a-old-1.png").write_bytes(b"of an earlier round")
    build_report(run)
    assert {p.name for p in (run / "heatmaps").iterdir()} == names


def test_many_pictures_share_the_page_and_every_site_has_its_turn(tmp_path):
    sites = [f"s{at}" for at in range(40)]
    run = make_run(tmp_path / "run", sites)
    for site in sites:
        add_pictures(run, site, "tile", count=2)
    page = page_of(run)
    assert len(page.named("img")) == 150
    assert "30 more in the folder heatmaps" in page.words
    assert len(list((run / "heatmaps").iterdir())) == 240


def test_damaged_listings_and_pictures_do_no_harm(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"])
    add_pictures(run, "a", "tile")
    heatmaps = run / "sites" / "a" / "heatmaps"
    (heatmaps / "best-1.png").write_bytes(b"not a picture")
    (heatmaps / "worst-1.png").unlink()
    entries = json.loads((heatmaps / "cases.json").read_text())
    entries += [{"file": "median-1.png"}, {"file": "../../../metrics.json", "kind": "best"}, 7]
    (heatmaps / "cases.json").write_text(json.dumps(entries))
    (run / "sites" / "b" / "heatmaps").mkdir(parents=True)
    (run / "sites" / "b" / "heatmaps" / "cases.json").write_text("{")
    assert len(page_of(run).named("img")) == 1
