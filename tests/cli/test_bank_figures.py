"""`bank compare` of banks that lie in their runs' folders: what both tested, side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.runfolders import make_private, make_run


def compared(cli, one: Path, other: Path) -> tuple[int, list[list[str]], str]:
    code, out, err = cli("bank", "compare", one / "bank.safetensors", other / "bank.safetensors")
    lines = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return code, [[cell.strip() for cell in cells] for cells in lines], out + err


def changed(run: Path, **sites: dict) -> Path:
    metrics = json.loads((run / "metrics.json").read_text())
    for site, figures in sites.items():
        metrics["rounds"][-1]["evaluate"][site]["products"]["tile"] |= figures
    (run / "metrics.json").write_text(json.dumps(metrics))
    return run


def test_figures_stand_side_by_side_over_what_both_tested(cli, tmp_path: Path) -> None:
    one = changed(
        make_run(tmp_path / "one", ["a", "b", "c"]),
        a={"image_auroc": 0.9},
        b={"image_auroc": 0.8},
        c={"image_auroc": 0.1},  # not in the other run
    )
    other = changed(
        make_run(tmp_path / "other", ["a", "b"]), a={"image_auroc": 0.99}, b={"image_auroc": 0.5}
    )
    code, cells, told = compared(cli, one, other)
    assert code == 1 and "over 2 pairs of site and product that both tested (1 others" in told
    assert cells[:5] == [
        ["image AUROC", "mean over sites", "0.850", "0.745"],
        ["", "worst served", "b, 0.800", "b, 0.500"],
        ["", "gap", "0.100 (within chance)", "0.490"],
        ["", "deviation", "0.050", "0.245"],
        ["", "Jain", "0.997", "0.902"],
    ]
    assert ["missed defects", "mean over sites", "15%", "15%"] in cells


def test_a_private_runs_figures_are_withheld(cli, tmp_path: Path) -> None:
    run = make_private(tmp_path / "run")
    none = {"calibrated": None, "threshold": None}
    _, cells, _ = compared(cli, *[changed(run, a=none, b=none)] * 2)
    assert ["missed defects", "mean over sites", "withheld", "withheld"] in cells
    assert cells[0][1] == "mean over sites" and cells[0][2].startswith("0.")


def test_a_bank_without_figures_says_so_and_is_compared(cli, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a", "b"])
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "bank.safetensors", alone)
    code, _, told = compared(cli, run, alone)
    assert code == 0 and "alone/bank.safetensors lies in no finished run's folder" in told
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["rounds"][-1]["round"] = 7
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "tells of another round than 1, which made this bank" in compared(cli, run, run)[2]


def test_nothing_in_common_and_damage_are_told(cli, tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one", ["a"]), make_run(tmp_path / "other", ["b"])
    assert "no site and product was tested with both banks" in compared(cli, one, other)[2]
    (one / "metrics.json").write_text('{"rounds": [{"evaluate": [1]}]}')
    code, _, told = compared(cli, one, other)
    assert code == 2 and "metrics.json is damaged: it holds no records of rounds" in told


@pytest.mark.parametrize("evaluate", [{}, None])
def test_a_run_that_evaluated_nothing_has_no_figures(cli, tmp_path: Path, evaluate) -> None:
    run = make_run(tmp_path / "run", ["a"], record_changes={"evaluate": evaluate})
    code, _, told = compared(cli, run, run)
    assert code == 0 and "no figures" in told
