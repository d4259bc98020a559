"""Where a simulation's results are: in a folder of its own, the one named, or the resumed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedpatchcore.cli import federated
from fedpatchcore.errors import RunError


class Flower:
    """Takes a run and is done with it at once, as if the server had written its results."""

    def __init__(self, writes: Path | None = None, status: str = "finished:completed") -> None:
        self.config: dict[str, Any] = {}
        self.writes, self.status = writes, status

    def __enter__(self) -> Flower:
        return self

    def submit(self, config: dict[str, Any], *, supernodes: int) -> str:
        self.config = dict(config)
        run = self.writes or Path(config["out-dir"]) / config["run-name"]
        run.mkdir(parents=True, exist_ok=True)
        (run / "metrics.json").write_text(json.dumps({"rounds": []}))
        return "1"

    def follow(self, run_id: str, line, *, timeout: float, tick) -> str:
        line("12:00:00 : run stopped: no quorum")
        return self.status

    def stop(self) -> None:
        self.config["stopped"] = True


def ran(flower: Flower, config: dict[str, Any], out: Path) -> None:
    federated._run((lambda: flower, 2), config, out, 1.0)


def test_a_run_without_a_name_gets_a_folder_of_its_own(tmp_path: Path, capsys) -> None:
    flower = Flower()
    ran(flower, {}, tmp_path)
    (run,) = tmp_path.iterdir()
    assert run.name == flower.config["run-name"]
    assert str(run / "report.html") in capsys.readouterr().out.replace("\n", "")


def test_a_name_that_was_given_is_kept(tmp_path: Path) -> None:
    flower = Flower()
    ran(flower, {"run-name": "pilot"}, tmp_path)
    assert flower.config["run-name"] == "pilot"
    assert (tmp_path / "pilot" / "metrics.json").is_file()


def test_a_resumed_run_ends_with_its_own_table(tmp_path: Path, capsys) -> None:
    """Its results go to the folder it goes on with, not to a new one."""
    old = tmp_path / "elsewhere" / "first"
    ran(Flower(writes=old), {"resume": str(old), "num-rounds": 2}, tmp_path / "runs")
    assert str(old / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_failed_is_one_line_with_the_reason(tmp_path: Path) -> None:
    flower = Flower(status="finished:failed")
    with pytest.raises(RunError, match=r"'finished:failed': .*no quorum"):
        ran(flower, {}, tmp_path)
    assert flower.config["stopped"]
