"""The tables that a run ends with: verdicts first, as plain as the console is wide."""

from __future__ import annotations

import io

from rich.console import Console

from fedpatchcore.cli.results import verdict_table

ROW = {"product": "tile", "kind": "site", "withheld": False}
ROWS = [
    ROW | {"site": "a", "found": [7, 8], "stopped": [0, 8], "promised": [0.05, 0.0, 0.14]},
    ROW | {"site": "b", "found": None, "stopped": None, "promised": None},
    ROW | {"site": "mean", "kind": "mean", "found": [7, 8], "stopped": [0, 8], "promised": None},
]


def lines(rows: list[dict]) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=80).print(verdict_table(rows))
    found = [line.replace("┃", "│").split("│")[1:-1] for line in out.getvalue().splitlines()]
    return [[cell.strip() for cell in cells] for cells in found if cells]


def test_verdicts_stand_beside_what_was_promised() -> None:
    head, a, b, all_ = lines(ROWS)
    assert head == ["product", "site", "defects found", "good stopped", "promised"]
    assert a == ["tile", "a", "7 of 8 (53%–99%)", "0 of 8 (0%–31%)", "5.0% (0%–14%)"]
    assert b == ["", "b", "–", "–", "–"]
    assert all_ == ["", "all", "7 of 8 (53%–99%)", "0 of 8 (0%–31%)", ""]


def test_what_a_site_keeps_is_said_to_be_withheld() -> None:
    kept = ROW | {"site": "a", "found": None, "stopped": None, "promised": None, "withheld": True}
    assert lines([kept])[1] == ["tile", "a", "withheld", "withheld", "withheld"]
