"""Where results go is looked at before the work, not after it; whoever stops it is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.features.extraction import Extractor
from fedpatchcore.report import planted_page
from fedpatchcore.tuning.search import Search
from tests.support.products import write_product

QUICK = ("-c", "backbone=filterbank", "-c", "geometry=full", "-c", "image-size=64")


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "plate", train=12)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins to work fails."""

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("this is work")

    monkeypatch.setattr(Extractor, "_open", worked)
    monkeypatch.setattr(planted_page, "write_planted_page", worked)
    monkeypatch.setattr("fedpatchcore.cli.data._findings", worked)
    monkeypatch.setattr("fedpatchcore.cli.evaluate._measure", worked)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("fit",), "-o"),
        (("fit",), "--pictures"),
        (("data", "check"), "--html"),
        (("data", "planted"), "-o"),
    ],
)
def test_a_place_that_takes_nothing_is_told_before_any_work(
    cli, idle: None, product: Path, tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "x.html"
    more = () if option == "-o" and command == ("fit",) else ("-o", tmp_path / "own.safetensors")
    told = (*command, product, *(more if command == ("fit",) else ()), option, place, *QUICK)
    code, _, err = cli(*told)
    assert code == 2 and "cannot write" in err and "file/x.html" in err.replace("\n", "")


def test_so_is_that_of_figures(
    cli, product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("fit", product, "-o", tmp_path / "bank.safetensors", *QUICK)[0] == 0
    (tmp_path / "file").write_text("no folder")
    asked: list[object] = []
    monkeypatch.setattr("fedpatchcore.cli.evaluate._measure", lambda *a: asked.append(a) or [])
    words = ("evaluate", tmp_path / "bank.safetensors", product)
    code, _, err = cli(*words, "-o", tmp_path / "file" / "x")
    assert code == 2 and "cannot write figures" in err and not asked
    assert cli(*words, "-o", tmp_path / "fine")[0] == 0 and asked
    judged = ("predict", tmp_path / "none.safetensors", product)
    code, _, err = cli(*judged, "--heatmaps", tmp_path / "file" / "x")
    assert code == 2 and "cannot write heatmaps" in err  # told before the bank is looked for
    for command in (words, ("predict", tmp_path / "bank.safetensors", product)):
        code, _, err = cli(*command, "--threshold", "-3")
        assert code == 2 and "threshold" in err  # distances are never below 0


def test_a_folder_is_no_bank_file(cli, idle: None, product: Path, tmp_path: Path) -> None:
    code, _, err = cli("fit", product, "-o", tmp_path, *QUICK)
    assert code == 2 and "name a file" in err


def test_whoever_stops_a_tune_is_told_what_is_kept(
    cli, product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Search) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", stopped)
    code, _, err = cli("tune", product, "-o", tmp_path / "tuned", *QUICK)
    told = " ".join(err.split())
    assert code == 130 and "stopped: 0 trials are in" in told and "same command goes on" in told


def test_any_other_command_says_that_it_was_stopped(
    cli, product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Extractor, "pieces", stopped)
    monkeypatch.setattr(Extractor, "stream", stopped)
    code, _, err = cli("fit", product, "-o", tmp_path / "bank.safetensors", *QUICK)
    assert code == 130 and err.split()[-1] == "stopped"
    assert not (tmp_path / "bank.safetensors").exists()
