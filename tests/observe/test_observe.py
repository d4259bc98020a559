"""Logs, metrics and traces of a federation, as those who watch it get them."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flwr.common.logger import FLOWER_LOGGER, log
from prometheus_client import CollectorRegistry

from client_app.records import to_records
from fedpatchcore.metrics.verdicts import verdict
from fedpatchcore.observe import logs, metrics
from fedpatchcore.observe.exporter import FolderCollector
from fedpatchcore.observe.metrics import Recorder, locked, site_label
from fedpatchcore.observe.run import SERVER_METRICS, RunMetrics
from fedpatchcore.runs.events import Line, from_line, to_line
from fedpatchcore.wire.packet import Packet
from tests.support.observing import federation

# -- logs -----------------------------------------------------------------------------


@pytest.fixture
def stream(monkeypatch) -> io.StringIO:
    """What Flower's console handler writes; every handler is as before when the test ends."""
    (handler,) = FLOWER_LOGGER.handlers
    written = io.StringIO()
    monkeypatch.setattr(handler, "stream", written)
    loggers = [FLOWER_LOGGER, *map(logging.getLogger, logs.OTHERS)]
    before = [(one, list(one.handlers), one.propagate) for one in loggers]
    formatter, filters = handler.formatter, list(handler.filters)
    yield written
    logging.captureWarnings(False)
    for one, handlers, propagate in before:
        one.handlers[:], one.propagate = handlers, propagate
    handler.formatter, handler.filters = formatter, filters
    handler.__dict__.pop("format", None)


def test_json_logs_parse_line_by_line_and_say_where_they_come_from(
    config, sites_folder: Path, stream: io.StringIO, monkeypatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_LOG", "json")
    federation(config(), sites_folder)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) > 20
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
    started = next(i for i, line in enumerate(lines) if line.get("event") == "started")
    assert {str(line["run"]) for line in lines[started:]} == {"1"}
    told = [line for line in lines if line["message"].startswith("[south] plate: 3 good")]
    assert [(t["site"], t["round"], t["phase"]) for t in told] == [("south", 1, "evaluate")]
    merged = next(line for line in lines if line.get("event") == "merged")
    assert (merged["round"], merged["phase"]) == (1, "evaluate")
    assert "site" not in merged


@pytest.mark.parametrize("mode", ["text", "json"])
def test_events_are_read_from_the_log_in_both_modes(
    mode: str, config, sites_folder: Path, tmp_path: Path, stream: io.StringIO, monkeypatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_LOG", mode)
    federation(config(), sites_folder)
    written = (tmp_path / "runs" / "run" / "events.jsonl").read_text().splitlines()
    read = [event for line in stream.getvalue().splitlines() if (event := from_line(line))]
    assert len(read) == len(written)
    for event, line in zip(read, written, strict=True):
        assert json.loads(line).items() <= event.items()
    if mode == "text":
        assert to_line(json.loads(written[0])) in stream.getvalue()
        assert read == [json.loads(line) for line in written]


def test_a_line_of_many_lines_or_of_an_error_is_one_object(
    stream: io.StringIO, config, monkeypatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_LOG", "json")
    logs.use_json(FLOWER_LOGGER)
    logs.use_json(FLOWER_LOGGER)  # once more changes nothing
    with logs.bound(site="north", round=None):
        logs.note(round=4)
        log(logging.INFO, "one\n\ttwo %s", "Ω")
        with logs.in_phase("select", {}):
            log(logging.INFO, Line(time="t", event="site", site="other", name="a", message="b"))
        try:
            raise ValueError("boom")
        except ValueError:
            log(logging.ERROR, "failed", exc_info=True)
    log(logging.INFO, "outside")
    one, event, failed, outside = map(json.loads, stream.getvalue().splitlines())
    assert one["message"] == "one\n        two Ω"
    assert (one["site"], one["round"], one["level"]) == ("north", 4, "INFO")
    assert (event["site"], event["phase"], event["time"]) == ("other", "select", "t")
    assert "ValueError: boom" in failed["exc_info"]
    assert not {"site", "round", "phase"} & set(outside)


# -- metrics --------------------------------------------------------------------------


def scraped(folder: Path) -> dict[tuple[str, ...], float]:
    """(name, label values...) → value, read the way the exporter reads."""
    registry = CollectorRegistry()
    FolderCollector(registry, folder)
    return {
        (s.name.removeprefix("fedpatchcore_"), *(s.labels[k] for k in sorted(s.labels))): s.value
        for family in registry.collect()
        for s in family.samples
    }


@pytest.fixture
def folder(tmp_path: Path, config, monkeypatch) -> Path:
    path = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(path))
    return path


def test_how_evenly_sites_are_served_is_counted_at_the_end(folder: Path) -> None:
    row = {"product": "plate", "kind": "site", "good": 9, "defective": 10, "stopped": [0, 9]}
    rows = [
        row | {"site": "north", "federated": 0.9, "found": [8, 10]},
        row | {"site": "south", "federated": 0.7, "found": [2, 10], "stopped": None},
        row | {"site": "west", "federated": None, "found": None, "stopped": None},
    ]
    listen = RunMetrics(folder)
    listen({"event": "failed", "reason": "?"})
    listen({"event": "finished", "rows": rows})
    found = scraped(folder)
    for product in ("plate", ""):
        assert found["server_fairness_gap", "image_auroc", product] == pytest.approx(0.2)
        assert found["server_fairness_deviation", "misses", product] == pytest.approx(0.3)
        assert found["server_fairness_jain", "misses", product] == pytest.approx(1 / 1.36)
        assert ("server_fairness_gap", "false_alarms", product) not in found  # of one site
    assert found["server_runs_total", "failed"] == found["server_runs_total", "finished"] == 1


def test_metrics_of_a_federation_agree_with_its_figures(
    folder: Path, config, sites_folder: Path, tmp_path: Path
) -> None:
    def alter(node, kind, reply):
        if (node, kind) == (12, "train"):
            return None
        if (node, kind) == (13, "evaluate"):
            reply.content = to_records(Packet(texts={"site": "west", "failure": "no"}))
        return reply

    federation(config(round_timeout=2.0), sites_folder, alter=alter)
    found = scraped(folder)
    (record,) = json.loads((tmp_path / "runs" / "run" / "metrics.json").read_text())["rounds"]
    assert found["server_rounds_completed_total",] == found["server_round",] == 1
    assert found["server_runs_total", "finished"] == 1
    assert found["server_runs_total", "failed"] == found["server_run_active",] == 0
    assert found["server_sites_online",] == found["server_sites_asked",] == 3
    assert found["server_sites_wanted",] == 2
    assert abs(time.time() - found["server_last_round_timestamp_seconds",]) < 300
    for site in ("north", "west"):
        size = record["train"][site]["bytes"]
        assert found["server_received_bytes_total", site] == size
        assert found["site_shipped_bytes_total", site] == size
        assert found["server_site_round_trip_seconds", "train", site] > 0
        assert found["server_lost_sites_total", site] == 0
    assert found["server_lost_sites_total", "south"] == 1
    assert found["server_rejected_replies_total", "west"] == 1
    assert ("server_image_auroc", "plate", "west") not in found
    auroc = record["evaluate"]["north"]["products"]["plate"]["image_auroc"]
    assert found["server_image_auroc", "plate", "north"] == auroc
    told = verdict(record["evaluate"]["north"]["products"]["plate"])
    for name, rate in (("defects_found", told.found), ("good_stopped", told.stopped)):
        assert found[f"server_{name}", "plate", "north"] == rate.count
        tested = f"server_{name.partition('_')[0]}_tested"
        assert found[tested, "plate", "north"] == rate.of == 3
        assert (f"server_{name}", "plate", "west") not in found
    assert found["server_sent_bytes_total", "south"] == found["server_bank_bytes",] > 0
    assert found["server_bank_rows",] == 90
    assert not any(key[0] == "server_privacy_epsilon" for key in found)
    assert found["site_messages_total", "train", "ok", "south"] == 1  # lost on the way, not here
    assert found["site_images_total", "north", "extracted"] == 6
    for name in ("extract", "select", "score", "evaluate"):
        assert found["site_phase_seconds_count", name, "north"] >= 1
    assert found["site_last_success_timestamp_seconds", "evaluate", "north"] > 1e9


def test_a_privacy_budget_is_told_only_if_an_event_tells_it(folder: Path) -> None:
    listen = RunMetrics(folder)
    listen({"event": "anything new", "site": "north (node 3)", "epsilon": 1.5})
    found = scraped(folder)
    assert found["server_privacy_epsilon", "north"] == 1.5
    assert not any(found[key] for key in found if key[0] != "server_privacy_epsilon")


COUNTING = """
from fedpatchcore.observe.metrics import Metric, Recorder
import os, pathlib
folder = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
recorder = Recorder(folder, "site-a_b/c", [Metric("counter", "x", "X.", ("site",))])
for _ in range(20):
    recorder.record(lambda of: of["x"].labels("a_b/c").inc())
"""


def test_processes_go_on_where_others_stopped_even_side_by_side(folder: Path) -> None:
    for _ in range(2):
        side_by_side = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(3)]
        assert [one.wait() for one in side_by_side] == [0, 0, 0]
    assert scraped(folder) == {("x_total", "a_b/c"): 120}
    (file,) = folder.glob("*.db")
    assert re.fullmatch(r"counter_site-a-b-c-[0-9a-f]{8}\.db", file.name)


def test_a_new_run_forgets_gauges_and_keeps_counters(folder: Path) -> None:
    trained = {
        **dict.fromkeys(("bytes", "images", "patches", "rows"), 2),
        **dict.fromkeys(("extract_seconds", "select_seconds", "round_trip_seconds"), 0.5),
    }
    RunMetrics(folder)({"event": "trained", "site": "gone", **trained})
    assert scraped(folder)["server_site_images", "gone"] == 2
    RunMetrics(folder)({"event": "started"})
    found = scraped(folder)
    assert ("server_site_images", "gone") not in found
    assert found["server_received_bytes_total", "gone"] == 2
    assert found["server_run_active",] == 1


def test_what_cannot_be_recorded_is_said_once_and_costs_nothing_else(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch
) -> None:
    monkeypatch.setattr(metrics, "LOCK_SECONDS", 0.1)
    recorder = Recorder(folder, "server", SERVER_METRICS)
    recorder.record(lambda of: of["server_round"].set(1))
    with locked(folder):
        recorder.record(lambda of: of["server_round"].set(2))
        recorder.record(lambda of: of["server_round"].set(3))
    (said,) = caplog.messages
    assert "is held by another process" in said
    (folder / "gauge_livemostrecent_server.db").write_bytes(b"\xff" * 100)
    Recorder(folder, "server", SERVER_METRICS).record(lambda of: of["server_round"].set(4))
    assert len(caplog.messages) == 2


def test_node_ids_make_no_series() -> None:
    assert site_label("node 8123") == site_label("node -8123") == "unknown"
    assert site_label("north (node 12)") == "north"
    assert site_label("node 5 west") == "node 5 west"
