"""Where a simulation's results are: in a folder of its own, the one named, or the resumed one."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fedpatchcore.cli import federated
from fedpatchcore.cli.federated import LocalFlower
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.server.folders import new_folder
from fedpatchcore.server.runfolder import RunFolder
from server_app import run as server_run
from tests.support.products import write_product


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


def ran(flower: Flower, config: dict[str, Any], out: Path | None) -> None:
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


def test_results_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    """Told before anything is started; a start that failed leaves its name free."""
    ran(Flower(), {"run-name": "pilot"}, tmp_path)
    before = (tmp_path / "pilot" / "metrics.json").read_bytes()
    flower = Flower()
    with pytest.raises(RunError, match="pilot holds the results of another run.*resume="):
        ran(flower, {"run-name": "pilot"}, tmp_path)
    assert not flower.config and (tmp_path / "pilot" / "metrics.json").read_bytes() == before
    (tmp_path / "pilot" / "metrics.json").unlink()
    (tmp_path / "pilot" / "config.json").write_text("{}")
    ran(Flower(), {"run-name": "pilot"}, tmp_path)


@pytest.mark.parametrize("name", ["bank.safetensors", "rounds/0001", "coresets/a.safetensors"])
def test_a_server_writes_over_no_results_either(tmp_path: Path, name: str) -> None:
    """Whoever starts it, also by ``flwr run``."""
    table = RunConfig(out_dir=str(tmp_path), run_name="first").table()
    run = RunFolder.create(tmp_path, "first", table)
    (run.path / "coresets").mkdir()
    assert RunFolder.create(tmp_path, "first", table).path == run.path  # nothing is there yet
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).write_bytes(b"")
    with pytest.raises(RunError, match="take another run-name"):
        RunFolder.create(tmp_path, "first", table)
    assert RunFolder.reopen(run.path, table).identity == run.identity


def test_a_resumed_run_ends_with_its_own_table(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results go to the folder it goes on with, not to a new one."""
    old = tmp_path / "elsewhere" / "first"
    monkeypatch.chdir(tmp_path)
    ran(Flower(writes=old), {"resume": str(old), "num-rounds": 2}, None)
    assert str(old / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert not (tmp_path / "runs").exists()


def test_flowers_table_of_all_rounds_is_not_shown_in_pieces(tmp_path: Path, capsys) -> None:
    def follow(run_id: str, line, *, timeout: float, tick) -> str:
        for text in (
            "{1: {'defects-found': '8.3e-01',",
            "2: {'x': '1'}}",
            "    'image-auroc': '9e-01'}}",
        ):
            line(f"INFO :      \t\t{text}")
        line("INFO :      site-1 / a 'plate': here")
        return "finished:completed"

    flower = Flower()
    flower.follow = follow
    ran(flower, {}, tmp_path)
    told = capsys.readouterr().out
    assert "'plate': here" in told
    assert "defects-found" not in told and "image-auroc" not in told and "'x'" not in told


def test_a_run_that_failed_is_one_line_with_the_reason(tmp_path: Path) -> None:
    flower = Flower(status="finished:failed")
    with pytest.raises(RunError, match=r"'finished:failed': .*no quorum"):
        ran(flower, {}, tmp_path)
    assert flower.config["stopped"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flower:
    """Flower as ``simulate``, ``rehearse`` and ``demo`` find it, in a folder of two sites."""
    flower = Flower()
    for site in ("east", "west"):
        write_product(tmp_path / "sites" / site / "plate", train=6)
    monkeypatch.chdir(tmp_path)
    for name in ("submit", "follow"):
        method = getattr(flower, name)
        monkeypatch.setattr(LocalFlower, name, lambda self, *a, _m=method, **b: _m(*a, **b))
    monkeypatch.setattr(LocalFlower, "__enter__", lambda self: self)
    monkeypatch.setattr(LocalFlower, "supernode", lambda self, *a, **b: None)
    return flower


@pytest.mark.parametrize("command", ["simulate", "rehearse"])
@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("-c", "run-name=x", "-c", "out-dir=o"), "o/x"),
        (("-c", "run-name=x", "--out", "o"), "o/x"),
        (("-c", "run-name=2026"), "runs/2026"),
    ],
)
def test_the_folder_that_was_told_is_the_one(
    cli, started: Flower, tmp_path: Path, command: str, words: tuple[str, ...], place: str
) -> None:
    code, out, _ = cli(command, "--data", "sites", *words)
    assert code == 0
    assert (tmp_path / place / "metrics.json").is_file()
    assert str(tmp_path / place / "report.html") in out
    assert {p.name for p in tmp_path.iterdir()} == {"sites", place.split("/")[0]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("simulate", "--data", "sites", "-c", "out-dir=o", "--out", "p"),
            "--out and -c out-dir=o",
        ),
        (
            ("rehearse", "--data", "sites", "-c", "out-dir=o", "--out", "p"),
            "--out and -c out-dir=o",
        ),
        (("simulate", "--data", "sites", "-c", "data=sites"), "--data and -c data=sites"),
        (("rehearse", "--data", "sites", "-c", "data=sites"), "--data and -c data=sites"),
        (("partition", "sites", "-c", "data=other"), "the folder and -c data=other"),
        (("rehearse", "--data", "sites", "-c", "partition=iid"), "simulate divides"),
        (("demo", "-c", "data=sites"), "simulate divides"),
        (("demo", "-c", "exclude=out.csv"), "simulate divides"),
        (("rehearse", "--data", "sites", "-c", "exclude=x"), "each site says itself"),
        (("simulate", "--data", "sites", "--exclude", "x", "-c", "exclude=y"), "told both"),
        (
            ("simulate", "--data", "sites", "-c", "resume=runs/a", "-c", "run-name=b"),
            "leave -c run-name=b out",
        ),
        (
            ("simulate", "--data", "sites", "-c", "resume=runs/a", "-c", "out-dir=o"),
            "leave -c out-dir=o out",
        ),
        (("simulate", "--data", "sites", "-c", "resume=runs/a", "--out", "o"), "leave --out"),
        (("run", "there", "--resume", "/runs/a", "-c", "run-name=b"), "leave -c run-name=b out"),
        (("run", "there", "--resume", "/runs/a", "-c", "resume=/runs/b"), "leave one out"),
    ],
)
def test_what_would_be_typed_for_nothing_is_refused(
    cli, started: Flower, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert err.startswith("error: ") and told in err and err.count("\n") == 1
    assert not started.config and {p.name for p in tmp_path.iterdir()} == {"sites"}


def test_the_rest_of_a_resumed_run_is_told_once_more_or_not(tmp_path: Path) -> None:
    """Its own name and place beside ``resume`` say nothing else."""
    old = tmp_path / "runs" / "first"
    same = {"resume": str(old), "run-name": "first", "out-dir": str(old.parent)}
    ran(Flower(writes=old), same, None)
    with pytest.raises(ConfigError, match="leave -c run-name=second out"):
        ran(Flower(), {"resume": str(old), "run-name": "second"}, None)


def test_runs_that_start_together_never_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder(tmp_path / "runs"), range(24)))
    assert len(set(made)) == 24
    for flower in (first := Flower(), second := Flower()):
        ran(flower, {}, tmp_path / "runs")
    assert first.config["run-name"] != second.config["run-name"]


def test_the_server_names_runs_apart_as_well(tmp_path: Path) -> None:
    config = RunConfig(out_dir=str(tmp_path / "runs"))
    first, second = (server_run._folder(config, 1_000_007) for _ in range(2))
    assert first.path != second.path and "-000007" in second.path.name
    assert first.identity != second.identity


def test_an_out_dir_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write results to"):
        ran(Flower(), {}, tmp_path / "file")


@pytest.mark.parametrize("word", ["--exclude=out.csv", "-cexclude=out.csv"])
def test_images_to_leave_out_are_found_from_any_folder(
    cli, started: Flower, tmp_path: Path, word: str
) -> None:
    (tmp_path / "out.csv").write_text("file,reason\neast/plate/train/good/002.png,bent\n")
    code, out, _ = cli("simulate", "--data", "sites", word)
    assert code == 0 and started.config["exclude"] == str(tmp_path / "out.csv")
    assert re.search(r"east\W+plate\W+5\b", out) and re.search(r"west\W+plate\W+6\b", out)
    (tmp_path / "out.csv").write_text("file,reason\neast/plate/train/good/002.png,\n")
    code, _, err = cli("simulate", "--data", "sites", word)
    assert code == 2 and "no reason why" in err
