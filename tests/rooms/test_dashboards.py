"""Dashboards fit Grafana's schema; every query of every panel answers from a real Prometheus."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from fedpatchcore.config import RunConfig
from fedpatchcore.control.app import application
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.runs.launch import free_port
from tests.observe.test_observe_deployed import DEPLOYED, wait_for
from tests.support.control import open_room
from tests.support.names import NAMES
from tests.support.observing import exporter, federation, fetch

DASHBOARDS = sorted((DEPLOYED / "grafana" / "dashboards").glob("*.json"))
# what a run in which nothing went wrong, without privacy, has no values of
QUIET = ("server_privacy_epsilon",)


def targets(file: Path) -> list[tuple[str, str]]:
    """``(panel, query)`` for Prometheus, with variables filled in."""
    found = []
    for panel in json.loads(file.read_text())["panels"]:
        for one in panel.get("targets", ()):
            if "expr" in one:
                query = one["expr"].replace("$__rate_interval", "1m").replace("$site", ".+")
                found.append((panel["title"], query))
    return found


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda one: one.name)
def test_a_dashboard_fits_grafanas_schema(file: Path) -> None:
    """Read into the schema's types and written again nothing is lost or different."""
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="pip install '.[dashboards]'"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    told = json.loads(file.read_text())
    for variable in told.get("templating", {}).get("list", ()):
        variable.pop("definition", None)  # Grafana writes it; its schema does not know it
    again = json.loads(JSONEncoder().encode(models.Dashboard.from_json(told)))
    assert list(_lost(told, again)) == []
    titles = [panel["title"] for panel in told["panels"]]
    assert len(titles) > 10 and all(titles)


def _lost(told: Any, again: Any, where: str = "") -> Iterator[str]:
    if isinstance(told, dict) and isinstance(again, dict):
        for key, value in told.items():
            if key not in again:
                yield f"{where}/{key}"
            else:
                yield from _lost(value, again[key], f"{where}/{key}")
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        for at, (one, other) in enumerate(zip(told, again, strict=True)):
            yield from _lost(one, other, f"{where}[{at}]")
    elif told != again:
        yield f"{where}: {told!r} is {again!r}"


def test_the_control_rooms_dashboard_is_what_the_builder_makes() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="pip install '.[dashboards]'")
    told = importlib.util.spec_from_file_location("built", DEPLOYED / "build_control.py")
    module = importlib.util.module_from_spec(told)
    told.loader.exec_module(module)
    assert module.FILE.read_text() == module.text()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Room, int]]:
    room = open_room(tmp_path)
    port = free_port()
    config = uvicorn.Config(
        application(room), port=port, log_level="warning", ws="none", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield room, port
    server.should_exit = True
    thread.join(20)
    room.close()


def test_every_query_of_every_panel_answers(
    served: tuple[Room, int],
    settings: Callable[..., RunConfig],
    sites_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both apps run a federation of two rounds; the control room reads it; Prometheus scrapes."""
    if not (prometheus := shutil.which("prometheus")):
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    room, port = served
    metrics = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(metrics))
    config = settings(
        out_dir=str(room.root), run_name="run", wait_seconds=1.0, num_rounds=2
    ).table()
    federation(config, sites_folder)
    room.mirror.look()
    for product in ("plate", "ring"):
        room.registry.release(CONSOLE, 1, product, "")
    key = room.people.make_token(CONSOLE, "prometheus", "viewer", "", 1)
    (tmp_path / "key").write_text(key)
    api = f"http://127.0.0.1:{(own := free_port())}/api/v1/query?"

    def ask(query: str) -> list[Any]:
        told = json.loads(fetch(api + urllib.parse.urlencode({"query": query})))
        assert told["status"] == "success", query
        return told["data"]["result"]

    with exporter(metrics) as address:
        target = urllib.parse.urlsplit(address).netloc
        file = tmp_path / "prometheus.yml"
        file.write_text(
            f"rule_files: ['{DEPLOYED / 'rules.yml'}']\n"
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "scrape_configs:\n"
            f"  - {{job_name: server, static_configs: [{{targets: ['{target}']}}]}}\n"
            "  - job_name: control\n"
            f"    authorization: {{credentials_file: '{tmp_path / 'key'}'}}\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
        command = [prometheus, f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'db'}"]
        command += [f"--web.listen-address=127.0.0.1:{own}"]
        with (
            (tmp_path / "log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as started,
        ):
            try:
                wait_for(lambda: len(ask("up == 1")) == 2, 60)
                federation(config | {"run-name": "again"}, sites_folder)  # so that counters rise
                room.mirror.look()
                wait_for(lambda: ask("fedpatchcore_control_banks == 2"), 60)
                wait_for(lambda: ask("rate(fedpatchcore_control_requests_total[1m]) > 0"), 60)
                over = "fedpatchcore_server_runs_total{outcome='finished'} == 2"
                wait_for(lambda: ask(over), 60)
                silent, asked = [], 0
                for one in DASHBOARDS:
                    for panel, query in targets(one):
                        asked += 1
                        if not ask(query) and not any(name in query for name in QUIET):
                            silent.append(f"{one.name}: {panel}: {query}")
                assert silent == [] and asked > 50
                assert ask(f"count(fedpatchcore_server_site_rows) == {len(NAMES)}")
                assert not ask("ALERTS{alertstate='firing'}")
            finally:
                started.terminate()
