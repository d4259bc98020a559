"""The control room's own metrics say what its pages say, to whoever may look."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedpatchcore.control.counting import CONTROL_METRICS
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.observe.metrics import PREFIX
from tests.support.control import add_run, browser, program, run_events, small_bank
from tests.support.places import ROOT


def scraped(room: Room) -> dict[str, dict[tuple[str, ...], float]]:
    text = program(room, "viewer").get("/metrics").text
    return {
        family.name.removeprefix(PREFIX): {
            (one.name.removeprefix(family.name), *one.labels.values()): one.value
            for one in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


def test_every_metric_is_there_and_true(room: Room) -> None:
    add_run(room, "one", bank=small_bank(1))
    add_run(room, "two", run_events(over=False, at=1000))
    room.mirror.look()
    room.registry.release(CONSOLE, 1, "plate", "")
    north = program(room, "site", "north")
    tag = north.get("/api/products/plate/bank").headers["etag"]
    north.get("/api/products/plate/bank", headers={"if-none-match": tag})
    told = scraped(room)
    assert set(told) == {one.name for one in CONTROL_METRICS}
    assert told["control_sites"] == {("",): 2}
    assert told["control_runs"] == {("", "finished"): 1, ("", "running"): 1}
    assert told["control_banks"] == {("",): 1}
    assert told["control_products"] == {("", "production"): 1, ("", "candidate"): 0}
    assert told["control_pulls"] == {
        ("_total", "sent"): 1,
        ("_total", "unchanged"): 1,
        ("_total", "gone"): 0,
    }
    assert told["control_requests"][("_total", "200")] == 1
    assert told["control_request_seconds"][("_count",)] == 2
    assert told["control_trail_records"][("",)] == sum(1 for _ in room.trail.lines())
    (since,) = told["control_production_since_timestamp_seconds"]
    assert set(since) == {"", "plate", "1"}
    assert told["control_looked_timestamp_seconds"][("",)] > 1.7e9


def test_whoever_may_not_look_reads_none(room: Room) -> None:
    assert browser(room).get("/metrics").status_code == 303
    add_run(room, "one")
    room.mirror.look()
    assert program(room, "site", "north").get("/metrics").status_code == 403


@pytest.mark.parametrize("metric", CONTROL_METRICS, ids=lambda one: one.name)
def test_names_are_of_one_kind(metric) -> None:
    assert re.fullmatch(r"control_[a-z_]+", metric.name)
    assert metric.kind == "gauge" or not metric.name.endswith("_total")


def test_all_are_documented_and_shown() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    dashboard = ROOT / "docker/observability/grafana/dashboards/control.json"
    shown = set(re.findall(rf"{PREFIX}(control_[a-z_]+)", dashboard.read_text()))
    shown = {re.sub("_(total|bucket)$", "", name) for name in shown}
    assert shown == {one.name for one in CONTROL_METRICS}
    assert [one.name for one in CONTROL_METRICS if f"`{one.name}" not in text] == []
