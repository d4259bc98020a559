"""The exporter, Prometheus itself, and the files that deploy them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from fedpatchcore.cli.app import build
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.observe.message import SITE_METRICS
from fedpatchcore.observe.metrics import PREFIX, declare
from fedpatchcore.observe.run import SERVER_METRICS
from fedpatchcore.runs.launch import free_port
from tests.support.names import NAMES
from tests.support.observing import exporter, federation, fetch
from tests.support.places import ROOT

DEPLOYED = ROOT / "docker" / "observability"
DASHBOARD = DEPLOYED / "grafana" / "dashboards" / "fedpatchcore.json"


def names() -> dict[str, str]:
    """Every name a query may use → the declared metric it belongs to."""
    made = declare([*SERVER_METRICS, *SITE_METRICS], CollectorRegistry())
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    kinds = {m.name: m.kind for m in (*SERVER_METRICS, *SITE_METRICS)}
    return {f"{PREFIX}{name}{end}": name for name in made for end in ends[kinds[name]]}


def used(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}[a-z_]+", text))


def tool(name: str) -> str:
    """A program of Debian's package prometheus."""
    if not (found := shutil.which(name)):
        pytest.skip(f"'{name}' is not installed (Debian: apt-get install prometheus)")
    return found


def test_dashboard_and_rules_use_declared_metrics_and_the_dashboard_shows_all() -> None:
    rules, dashboard = (DEPLOYED / "rules.yml").read_text(), DASHBOARD.read_text()
    assert used(rules) | used(dashboard) <= set(names())
    shown = {names()[name] for name in used(dashboard)}
    assert shown == {metric.name for metric in (*SERVER_METRICS, *SITE_METRICS)}


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    missing = [m.name for m in (*SERVER_METRICS, *SITE_METRICS) if f"`{m.name}" not in text]
    assert not missing


def test_the_dashboard_names_the_provisioned_data_sources() -> None:
    provisioned = (DEPLOYED / "grafana/provisioning/datasources/datasources.yml").read_text()
    sources = set(re.findall(r"uid: (\S+)", provisioned))
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        asked |= {t["datasource"]["uid"] for t in panel.get("targets", ())}
        if panel["type"] != "row":
            assert panel["description"]
    assert asked == sources


def test_the_exporter_says_what_it_lacks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    cases = {
        "no folder of metrics": ["exporter"],
        "belong together": ["exporter", "--dir", str(tmp_path), "--keyfile", "key.pem"],
        "cannot serve": ["exporter", "--dir", str(tmp_path), "--host", "203.0.113.1"],
    }
    for words, arguments in cases.items():
        error = CliRunner().invoke(build(arguments), arguments).exception
        assert isinstance(error, ConfigError)
        assert words in str(error)


@pytest.fixture
def folder(
    tmp_path: Path, settings: Callable[..., RunConfig], sites_folder: Path, monkeypatch
) -> Path:
    """The metrics that a federation of two rounds left."""
    path = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(path))
    config = settings(
        out_dir=str(tmp_path / "runs"), run_name="run", wait_seconds=1.0, num_rounds=2
    )
    federation(config.table(), sites_folder)
    return path


def test_the_exporter_serves_an_empty_folder_and_then_what_comes(
    folder: Path, tmp_path: Path
) -> None:
    with exporter(tmp_path / "later") as address:
        assert fetch(address) == ""
        for path in folder.iterdir():
            shutil.copy(path, tmp_path / "later")
        assert "fedpatchcore_server_rounds_completed_total 2.0" in fetch(address)


@pytest.mark.slow
def test_promtool_accepts_the_files() -> None:
    promtool = tool("promtool")
    for check, file in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        done = subprocess.run(
            [promtool, "check", check, str(DEPLOYED / file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_prometheus_scrapes_the_exporter(folder: Path, tmp_path: Path) -> None:
    prometheus, promtool = tool("prometheus"), tool("promtool")
    with exporter(folder) as address:
        text = fetch(address)
        lint = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
        declared = set(names()) - {f"{PREFIX}server_privacy_epsilon"}
        lines = (line for line in text.splitlines() if not line.startswith("#"))
        assert {re.match(r"\w+", line)[0] for line in lines} == declared
        api = f"http://127.0.0.1:{(port := free_port())}/api/v1/query?"
        target = urllib.parse.urlsplit(address).netloc
        config = tmp_path / "prometheus.yml"
        config.write_text(
            f"rule_files: ['{DEPLOYED / 'rules.yml'}']\n"
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"scrape_configs: [{{job_name: here, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )

        def ask(query: str) -> dict[tuple[str, ...], float]:
            """Label values without the scrape's own → value."""
            result = json.loads(fetch(api + urllib.parse.urlencode({"query": query})))
            found = {}
            for row in result["data"]["result"]:
                labels = sorted(row["metric"].items())
                own = tuple(v for k, v in labels if k in ("kind", "phase", "site"))
                found[own] = float(row["value"][1])
            return found

        command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'db'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        with (
            (tmp_path / "prometheus.log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as started,
        ):
            try:
                wait_for(lambda: ask("up{job='here'} == 1"))
                wait_for(lambda: ask(f"{PREFIX}server_rounds_completed_total") == {(): 2.0})
                received = ask(f"{PREFIX}server_received_bytes_total")
                assert received == ask(f"{PREFIX}site_shipped_bytes_total")
                assert set(received) == {(site,) for site in NAMES}
                p90 = "histogram_quantile(0.9, sum by (le, site, phase) (%s))"
                assert len(ask(p90 % f"{PREFIX}site_phase_seconds_bucket")) == 4 * len(NAMES)
                ok = ask(f"{PREFIX}site_messages_total{{outcome='ok',kind='train'}}")
                assert set(ok.values()) == {2.0}
                assert not ask("ALERTS")
                for expression in expressions():
                    ask(expression)  # an error of its syntax would be raised
            finally:
                started.terminate()


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < end, "Prometheus did not come to it in time"
        time.sleep(0.3)


def expressions() -> list[str]:
    """Every query of the dashboard, with its variables filled in."""
    found = [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
        if "expr" in target
    ]
    return [e.replace("$__rate_interval", "5m").replace("$site", ".+") for e in found]
