"""The command line: exit codes, one-line errors, what people see."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import typer

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.cli import app
from fedpatchcore.cli.app import build
from tests.support.commands import parameters
from tests.support.products import write_product


def test_a_path_in_a_log_is_never_broken(cli, quick: list[str], tmp_path: Path) -> None:
    product = write_product(tmp_path / "images" / "plate", train=16)
    bank = tmp_path / ("long-" * 30) / "plate.safetensors"
    bank.parent.mkdir()
    code, out, _ = cli("fit", product, "-o", bank, *quick)
    assert code == 0
    assert f"bank written to {bank}\n" in out


def test_evaluate_prints_the_metrics(cli, fitted, weights_file: Path) -> None:
    product, bank = fitted
    code, out, _ = cli("evaluate", bank, product, "--weights", weights_file)
    assert code == 0
    assert "plate" in out
    assert "1.000" in out
    named = (bank, product, "--weights", weights_file, "--site")
    assert cli("evaluate", *named, "this-machine")[:2] == (code, out)
    code, _, errors = cli("evaluate", *named, "plant-x")
    assert code and "has no site 'plant-x' (this-machine)" in errors


def test_bank_inspect_verify_compare(cli, fitted, tmp_path: Path, weights_file: Path) -> None:
    _, bank = fitted
    code, out, _ = cli("bank", "inspect", bank)
    assert code == 0
    for word in ("squeezenet1_1", "plate", "60", "this-machine", "privacy", "off"):
        assert word in out
    assert cli("bank", "verify", bank, "--weights", weights_file)[0] == 0
    code, out, _ = cli("bank", "compare", bank, bank)
    assert code == 0
    assert "yes" in out
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(bank.read_bytes()[:300])
    code, _, err = cli("bank", "verify", cut)
    assert code == 2
    assert err.startswith("error:")
    assert "cut short or damaged" in err


def test_banks_are_compared_by_the_metric_they_score_with(cli, fitted, tmp_path: Path) -> None:
    """The first direction alone counts, tenfold; rows differ by 0.5 in it and by 9 elsewhere."""
    loaded = MemoryBank.load(fitted[1])
    dimension = loaded.fingerprint.dimension
    metric = np.zeros((dimension, 1), np.float32)
    metric[0] = 10
    origin, paths = np.zeros(1, np.int32), []
    for at, (first, other, weight) in enumerate([(0, 0, 1), (0.5, 9, 1), (0.5, 9, 2)]):
        rows = np.full((1, dimension), other, np.float32)
        rows[0, 0] = first
        part = Section(rows, origin, 0.1, metric=weight * metric)
        paths.append(tmp_path / f"{at}.safetensors")
        replace(loaded, sections={"plate": part}, thresholds={}).save(paths[-1])
    code, out, _ = cli("bank", "compare", paths[0], paths[1])
    assert code == 1
    assert [word for word in out.split() if word == "5"] == ["5", "5"]
    assert "by the metric" in out
    out = cli("bank", "compare", paths[0], paths[2])[1]
    assert [word for word in out.split() if word in ("5", "10")] == ["10", "5"]
    assert "yes" in cli("bank", "compare", paths[1], paths[1])[1]
    assert "no" in cli("bank", "compare", paths[1], paths[2])[1]  # equal rows, another metric


def test_weights_list_check_import(cli, weights_file: Path, quick: list[str]) -> None:
    code, out, _ = cli("weights", "import", weights_file, "--backbone", "squeezenet1_1")
    assert code == 0
    code, out, _ = cli("weights", "list", "squeezenet1_1")
    assert "✓" in out
    code, out, _ = cli("weights", "check", *quick)
    assert "fingerprint" in out
    code, _, err = cli("weights", "import", "nowhere.pth", "--backbone", "resnet18")
    assert code == 2
    assert "nowhere.pth does not exist" in err


def test_partition_shows_and_saves_the_table(cli, tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate", train=12)
    table = tmp_path / "t.csv"
    code, out, _ = cli(
        "partition", tmp_path / "data", "--sites", "3", "--save", table, "-c", "partition=iid"
    )
    assert code == 0
    assert "site-2" in out
    assert table.read_text().startswith("site,product,train")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit", "/nowhere"], "nowhere"),
        (["fit", ".", "-c", "colour=red"], "unknown key 'colour'"),
        (["fit", ".", "-c", "coreset-size=-3"], "coreset-size"),
        (["fit", ".", "-c", "coreset"], "write KEY=VALUE"),
        (["bank", "inspect", "none.safetensors"], "does not exist"),
        (["simulate", "-c", "global-bank-size=-5"], "global-bank-size"),
        (["rehearse", "--data", "."], "sub-folders"),
        (["report", "."], "no finished run"),
    ],
)
def test_errors_are_one_line_and_name_the_fix(
    cli, words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_debug_shows_the_trace(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedpatchcore.cli", "--debug", "bank", "inspect", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr
    assert "BankError" in done.stderr


def test_help_teaches(cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    commands = ("demo", "simulate", "rehearse", "report", "fit", "predict", "evaluate")
    for command in (*commands, "bank", "weights", "sample", "partition"):
        assert command in out


def numbers(command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
    """Every option of the command line that is a number with a fraction."""
    for name, parameter in parameters(command):
        if isinstance(parameter.type, click.types.FloatParamType):
            yield name, parameter


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_option_takes_what_is_no_number(value: str) -> None:
    """With a threshold of NaN every image would pass."""
    command = typer.main.get_command(build())
    found = dict(numbers(command))
    assert {"predict threshold", "audit mechanism epsilon", "node dp_budget_epsilon"} <= set(found)
    for name, parameter in found.items():
        with pytest.raises(click.BadParameter, match="finite|not in the range"):
            parameter.process_value(click.Context(command), value)
        assert name


def test_a_value_of_two_lines_is_not_read_as_its_first(cli) -> None:
    code, _, err = cli("simulate", "-c", "seed=1\nnum-rounds=2")
    assert code == 2
    assert "seed: a value is one line of plain text" in err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/state/a"), "/state/a: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/b"), "let this user read and write"),
        (OSError(errno.EROFS, "Read-only file system", "c"), "name a folder that can be written"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused (--debug shows"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error, told) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(app, "build", lambda words: refuse)
    monkeypatch.setattr(sys, "argv", ["fedpatchcore", "fit"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ") and told in said and said.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["fedpatchcore", "--debug", "fit"])
    with pytest.raises(OSError):
        app.main()


def test_scans_are_of_three_hospitals_whatever_sites_are_asked_for(cli, tmp_path: Path) -> None:
    few = ("--train", 1, "--test", 1)
    for sites in (3, 5):
        code, _, told = cli("sample", tmp_path / "scans", "--scans", "--sites", sites, *few)
        assert code == 2 and len(told.strip().splitlines()) == 1
        assert "leave --sites out" in told and not (tmp_path / "scans").exists()
    assert cli("sample", tmp_path / "images", "--sites", 2, *few)[0] == 0
    assert len(list((tmp_path / "images").glob("plant-*"))) == 2


@pytest.mark.parametrize("words", [("partition",), ("simulate", "--data"), ("rehearse", "--data")])
def test_a_product_is_no_folder_of_sites(cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Its train and test would be two sites, of which one learns defects."""
    product = write_product(tmp_path / "plate", train=12)
    out = () if words[0] == "partition" else ("--out", tmp_path / "runs")
    code, _, err = cli(*words, product, *out)
    assert code == 2 and "is one product" in err and "-c partition=iid" in " ".join(err.split())
    assert not (tmp_path / "runs").exists()
    if words[0] == "partition":
        assert cli(*words, product, "--sites", 2, "-c", "partition=iid")[0] == 0
