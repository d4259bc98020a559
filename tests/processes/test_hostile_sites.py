"""Real processes: five hostile sites beside two honest ones, and an app that is not installed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.runs import launch
from fedpatchcore.runs.flowercli import toml_value
from fedpatchcore.runs.launch import LocalFlower, free_port
from fedpatchcore.runs.programs import app_folder
from tests.support.hostile_sites import WAYS
from tests.support.places import ROOT
from tests.support.processes import only_run
from tests.support.products import write_product

pytestmark = pytest.mark.slow

HONEST = ("north", "west")
SETTINGS = {
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 64,
    "coreset-size": 40,
    "heatmaps": 0,
    "threads": 1,
    "compare-local": "false",
    "expected-sites": len(HONEST) + len(WAYS),
    "round-timeout": 600,
    "wait-seconds": 600,
}


class Field(LocalFlower):
    """Honest sites as ``rehearse`` starts them, and SuperNodes whose executor is hostile."""

    def __init__(self, data: Path, logs: Path) -> None:
        paths = {"PYTHONPATH": str(ROOT), "FEDPATCHCORE_HOME": str(data.parent / "home")}
        super().__init__(simulation=False, logs=logs, environment=paths)
        for at, site in enumerate((*HONEST, *WAYS)):
            write_product(data / site / "plate", seed=1000 * at)
        self.data = data

    def start(self) -> None:
        for site in HONEST:
            self.supernode(site, self.data / site, app="installed")
        ports = []
        for how in WAYS:
            told = {"site": how, "data": str(self.data / how)}
            port = str(free_port())
            command = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}"]
            command += ["--port", port, "--isolation", "process"]
            words = " ".join(f"{k}={toml_value(v)}" for k, v in told.items())
            self._spawn(f"site-{how}", [*command, "--node-config", words])
            ports.append(f"{port}={how}")
        self._spawn("hostile", [sys.executable, "-m", "tests.support.hostile_sites", *ports])

    def log_of(self, run_id: str) -> tuple[str, list[str]]:
        lines: list[str] = []
        return self.follow(run_id, lines.append, timeout=1200), lines


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    place = tmp_path_factory.mktemp("field")
    launch.START_SECONDS = 300.0  # a busy machine
    with Field(place / "sites", place / "logs") as made:
        made.start()
        yield made


def test_hostile_sites_are_named_and_the_round_goes_on(field: Field, tmp_path: Path) -> None:
    """No protobuf, 5 MB that are 3 GB, odd figures, more rows than asked, forged events."""
    status, lines = field.log_of(field.submit({**SETTINGS, "out-dir": str(tmp_path / "runs")}))
    assert status == "finished:completed", "\n".join(lines[-40:])
    run = only_run(tmp_path / "runs")
    (record,) = json.loads((run / "metrics.json").read_text())["rounds"]
    rejected = record["rejected"]
    assert "its reply is refused: it cannot be read (DecodeError" in rejected["no-protobuf"]
    assert "the message would take 3,145," in rejected["bomb"]
    assert "'threshold'" in rejected["figures"]
    assert "asked were" in rejected["more"]
    assert set(rejected) == {"no-protobuf", "bomb", "figures", "more"}
    assert all("\n" not in why for why in rejected.values())
    assert record["lost"] == {}
    bank = MemoryBank.load(run / "bank.safetensors")
    assert bank.sites == ("figures", "forger", "north", "west")
    late = {"no-protobuf", "bomb", "more"}  # their rows were refused, their figures are their own
    assert set(record["evaluate"]) == {"forger", *HONEST, *late}
    assert set(bank.thresholds["plate"]) == {"forger", *HONEST}
    for site in late:
        assert "threshold of plate is in no bank" in record["evaluate"][site]["notes"][-1]
    assert (run / "report.html").is_file()

    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("finished") == 1
    assert events[-1]["event"] == "finished" and events[-1]["bank"] != "/x"
    assert "x" not in {event["event"] for event in events}
    for file in (run / "events.jsonl", run / "report.html", run / "metrics.json"):
        assert "\x1b" not in file.read_text()
    assert not any("\x1b[2J" in line for line in lines)


def test_an_app_that_is_not_the_installed_one_is_refused_before_a_line_of_it_runs(
    field: Field, tmp_path: Path
) -> None:
    changed, mark = tmp_path / "app", tmp_path / "it-ran"
    for name in ("client_app", "server_app"):
        shutil.copytree(app_folder() / name, changed / name)
    shutil.copy(app_folder() / "pyproject.toml", changed)
    app = changed / "client_app" / "app.py"
    app.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n" + app.read_text())
    told = tmp_path / "run.toml"
    given = {**SETTINGS, "out-dir": str(tmp_path / "runs"), "expected-sites": 2}
    given |= {"wait-seconds": 60, "rejoin-seconds": 0}
    told.write_text("".join(f"{k} = {toml_value(v)}\n" for k, v in given.items()))
    for one in (*(f"site-{how}" for how in WAYS), "hostile"):
        field._stop_one(one)
    time.sleep(1)
    answer = field.cli.ask("run", str(changed), "--run-config", str(told))
    status, lines = field.log_of(str(answer["run-id"]))
    assert status == "finished:failed"
    said = "\n".join(lines)
    for site in HONEST:
        assert f"{site} (node " in said
    assert "client_app/app.py differ" in said
    assert "--app any" in said
    assert not mark.exists()
