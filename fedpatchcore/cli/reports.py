"""The page of a run that is over, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedpatchcore.cli.common import console
from fedpatchcore.cli.results import print_results
from fedpatchcore.errors import RunError
from fedpatchcore.runs.tidy import tidy
from fedpatchcore.sealed import read_sealed
from fedpatchcore.texts import one_line

__all__ = ["print_table", "report"]


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, for example runs/20260101-120000.")],
) -> None:
    """Write report.html of a run again, and print its tables."""
    from fedpatchcore.report.page import build_report

    if not (run / "metrics.json").is_file():
        raise RunError(f"{run} is no finished run: it has no metrics.json")
    path = build_report(run)
    print_table(run)
    console.print(f"report: {path}")


def print_table(run: Path) -> None:
    from fedpatchcore.metrics.comparison import comparison_rows
    from fedpatchcore.metrics.fairness import makers

    metrics = read_sealed(run / "metrics.json", error=RunError)
    try:
        rows, made = comparison_rows(metrics), makers(metrics)
    except Exception as error:  # whatever a file of another shape makes of it
        raise RunError(
            f"{run / 'metrics.json'} is damaged: it holds no records of rounds "
            f"({one_line(repr(error), 200)})"
        ) from None
    print_results(tidy({"event": "finished", "rows": rows})["rows"], made)
