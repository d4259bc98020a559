"""The tables that a run ends with: verdicts first, as plain as the console is wide."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from fedpatchcore.cli.results import compared_table, fairness_table, print_results, verdict_table
from fedpatchcore.metrics.fairness import fairness

ROW = {"product": "tile", "kind": "site", "withheld": False}
ROWS = [
    ROW | {"site": "a", "found": [7, 8], "stopped": [0, 8], "promised": [0.05, 0.0, 0.14]},
    ROW | {"site": "b", "found": None, "stopped": None, "promised": None},
    ROW | {"site": "mean", "kind": "mean", "found": [7, 8], "stopped": [0, 8], "promised": None},
]


def lines(
    rows: list[dict], table: Callable[[list[dict]], Table] = verdict_table
) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=80).print(table(rows))
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


def test_banks_stand_under_one_another_all_sites_together() -> None:
    one = {"found": [7, 8], "stopped": [0, 8], "promised": [0.05, 0.0, 0.14]}
    banks = {"local": one | {"found": [3, 8]}, "federated": one, "pooled_equal": one}
    rows = [*ROWS[:2], ROWS[2] | {"compared": banks}, ROWS[2] | {"product": "nut", "compared": {}}]
    head, local, federated, pooled = lines(rows, compared_table)
    assert head == ["product", "bank", "defects found", "good stopped", "promised"]
    assert local == ["tile", "local only", "3 of 8", "0 of 8", "5.0% (0%–14%)"]
    assert federated == ["", "federated", "7 of 8", "0 of 8", "5.0% (0%–14%)"]
    assert pooled[1] == "pooled, equal size"


TESTED = ROW | {"good": 80, "defective": 80, "stopped": [0, 80]}
SERVED = [
    TESTED | {"site": "a", "federated": 0.95, "found": [70, 80]},
    TESTED | {"site": "b", "federated": 0.9, "found": [10, 80]},
    ROW | {"site": "c", "federated": None, "found": None, "stopped": None},
]


def test_who_is_served_worst_stands_at_the_end(capsys) -> None:
    head, area, misses, alarms = lines(SERVED, lambda rows: fairness_table(fairness(rows)))
    assert head == ["bank", "figure", "worst served", "gap", "deviation", "Jain"]
    assert area == ["federated", "image AUROC", "b, 0.900", "0.050 ~", "0.025", "0.999"]
    assert misses == ["", "missed defects", "b, 88%", "75%", "38%", "0.640"]
    assert alarms == ["", "false alarms", "all alike", "0% ~", "0%", "1.000"]
    print_results(SERVED)
    told = " ".join(capsys.readouterr().out.split())
    assert "The worst served site is b: image AUROC 0.900" in told
    assert "Not told: image AUROC, missed defects and false alarms of c." in told


def test_of_one_site_and_of_private_ones() -> None:
    kept = ROW | {"found": None, "stopped": None, "withheld": True, "federated": 0.9}
    rows = [kept | {"site": site} for site in "ab"]
    _, area, misses, alarms = lines(rows, lambda rows: fairness_table(fairness(rows)))
    assert area[2:4] == ["all alike", "0.000 ~"] and misses[2] == alarms[2] == "withheld"


def test_one_site_is_compared_with_nobody(capsys) -> None:
    print_results([SERVED[0] | {"local": float("nan")}])
    assert "evenly" not in capsys.readouterr().out
