"""The trace of a federation, as a receiver of OTLP gets it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from flwr.app import Error

from fedpatchcore.observe.message import handling
from fedpatchcore.observe.traces import FLUSH_SECONDS
from fedpatchcore.timing.phases import phase
from tests.support.fakegrid import FakeGrid
from tests.support.names import NAMES
from tests.support.observing import federation, receiver, spans

OTEL = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_a_trace_shows_run_round_sites_and_phases(
    config, sites_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    def alter(node, kind, reply):
        return Error(8, str(sites_folder)) if (node, kind) == (12, "evaluate") else reply

    file = tmp_path / "spans.jsonl"
    with receiver(file) as endpoint:
        monkeypatch.setenv(OTEL, endpoint)
        federation(config(num_rounds=2), sites_folder, alter=alter)
    got = spans(file)
    assert len({span["trace"] for span in got}) == 1
    by_id = {span["id"]: span for span in got}
    (run,) = (span for span in got if not span["parent"])
    assert (run["name"], run["service"]) == ("run", "fedpatchcore-server")

    def path(span: dict) -> tuple[str, ...]:
        above = by_id.get(span["parent"])
        said = span["attributes"]
        site = f" {said['fedpatchcore.site']}" if span["name"].startswith("site ") else ""
        return (*(path(above) if above else ()), span["name"] + site)

    paths = [path(span) for span in got]
    rounds = [s["attributes"]["fedpatchcore.round"] for s in got if s["name"] == "round"]
    assert sorted(rounds) == [1, 2]
    for site in NAMES:
        assert paths.count(("run", "round", f"site query {site}")) == 1
        assert paths.count(("run", "round", f"site train {site}")) == 2
        assert ("run", "round", f"site train {site}", "extract") in paths
        assert ("run", "round", f"site train {site}", "select") in paths
        assert ("run", "round", f"site evaluate {site}", "score") in paths
        assert ("run", "round", f"site evaluate {site}", "evaluate") in paths
    for span in got:
        above = by_id.get(span["parent"])
        if above and above["name"].startswith("site "):
            keys = ("fedpatchcore.site", "fedpatchcore.round")
            assert [span["attributes"][k] for k in keys] == [above["attributes"][k] for k in keys]
            assert span["service"] == "fedpatchcore-site"
            assert span["seconds"] <= above["seconds"]
    first = next(s for s in got if path(s)[-1] == "site train west")["attributes"]
    assert first["fedpatchcore.bytes"] == 2 * 30 * 128 * 4
    assert first["fedpatchcore.images"] == 12
    failed = [s for s in got if s["failed"]]
    assert {path(s)[-1] for s in failed} == {"site evaluate south"}
    assert {s["status"] for s in failed} == {"lost"}
    text = file.read_text()
    assert ".png" not in text
    assert str(tmp_path) not in text
    assert not any(span["events"] for span in got)


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_an_unreachable_collector_costs_at_most_two_seconds_a_message(
    how: str, config, monkeypatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if how == "silent":
            taken.listen()  # connects, never answers
        monkeypatch.setenv(OTEL, f"http://127.0.0.1:{taken.getsockname()[1]}")
        started = time.monotonic()
        parent = f"00-{'a' * 32}-{'b' * 16}-01"
        with handling("train", site="north", run="1", number=1, traceparent=parent) as told:
            with phase("extract") as facts:
                facts["images"] = 3
            told.answered(None)
        assert time.monotonic() - started < 2.0


def test_a_process_that_stays_answers_before_its_spans_are_sent(
    tmp_path: Path, monkeypatch
) -> None:
    about = {"site": "north", "run": "1", "number": 1}
    about["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    waited: dict[bool, list] = {True: [], False: []}
    join, file = threading.Thread.join, tmp_path / "spans.jsonl"
    with receiver(file) as endpoint, monkeypatch.context() as patch:
        patch.setenv(OTEL, endpoint)
        for stays, seconds in waited.items():

            def noted(self, timeout=None, seconds=seconds):
                seconds.append(timeout)
                join(self, timeout)

            patch.setattr(threading.Thread, "join", noted)
            with handling("train", **about, stays=stays), phase("extract"):
                pass
        end = time.monotonic() + 20
        while not file.exists() or len(spans(file)) < 2:
            assert time.monotonic() < end, "the span of the process that stays was never sent"
            time.sleep(0.05)
    assert FLUSH_SECONDS in waited[False]
    assert FLUSH_SECONDS not in waited[True]


def test_phases_whose_counts_stay_at_the_site_tell_none(tmp_path: Path, monkeypatch) -> None:
    about = {"site": "north", "run": "1", "number": 1}
    about["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    file = tmp_path / "spans.jsonl"
    with receiver(file) as endpoint:
        monkeypatch.setenv(OTEL, endpoint)
        for kept in (False, True):
            with handling("evaluate", **about) as told, phase("score") as facts:
                told.withheld, facts["images"] = kept, 31
    one, other = (span["attributes"] for span in spans(file))
    assert one["fedpatchcore.images"] == 31
    assert other == {k: v for k, v in one.items() if k != "fedpatchcore.images"}


@pytest.mark.long
def test_a_round_completes_without_its_collector(
    config, sites_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv(OTEL, "http://127.0.0.1:9")
    started = time.monotonic()
    federation(config(), sites_folder)
    assert time.monotonic() - started < 40  # nine messages of at most two seconds, and the run
    told = (tmp_path / "runs" / "run" / "events.jsonl").read_text()
    assert '"finished"' in told


def test_a_message_shares_its_bank_and_carries_its_own_span(
    config, sites_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    seen: dict[str, list] = {}

    deliver = FakeGrid._deliver

    def watched(self, message):
        seen.setdefault(message.metadata.message_type, []).append(message.content)
        return deliver(self, message)

    monkeypatch.setattr(FakeGrid, "_deliver", watched)
    with receiver(tmp_path / "spans.jsonl") as endpoint:
        monkeypatch.setenv(OTEL, endpoint)
        federation(config(), sites_folder)
    contents = seen["evaluate"]
    assert len({id(c["arrays"]) for c in contents}) == 1
    assert len({c["trace"]["traceparent"] for c in contents}) == 3
