"""Draws kept one by one in a table, so that a benchmark that was stopped goes on where it stood.

A line is one way in one case (a site, or the one machine) of one draw. Seeds name the draws, so
twenty of them are the same twenty however often the benchmark was begun.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

import numpy as np
from common import RESULTS

from fedpatchcore.metrics.rates import Rate

__all__ = ["KeptDraws", "summed"]

NAMED = ("set", "n", "way", "seed", "case")


class KeptDraws:
    """The lines of ``results/<name>.csv``; what is added stands on disk at once."""

    def __init__(self, name: str, *, anew: bool = False) -> None:
        self.path = RESULTS / f"{name}.csv"
        self.rows: list[dict] = []
        if anew:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = [_read(row) for row in csv.DictReader(file)]

    def lacking(self, which: str, n: int, ways: Sequence[str], seeds: int) -> list[int]:
        """Seeds below ``seeds`` of which a way is not there yet."""
        found = {(r["set"], r["n"], r["way"], r["seed"]) for r in self.rows}
        return [s for s in range(seeds) if any((which, n, way, s) not in found for way in ways)]

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """A whole draw: all ways and cases, so that none is ever half there."""
        new = not self.path.is_file()
        RESULTS.mkdir(exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            if new:
                writer.writeheader()
            for row in rows:
                writer.writerow({k: f"{v:.5g}" if k not in NAMED else v for k, v in row.items()})
        self.rows += [_read({k: str(v) for k, v in row.items()}) for row in rows]

    def of(self, which: str, n: int, way: str) -> list[dict]:
        """The lines of a way."""
        wanted = (which, n, way)
        return [row for row in self.rows if (row["set"], row["n"], row["way"]) == wanted]


def _read(row: Mapping[str, str]) -> dict:
    told = {key: row[key] if key in ("set", "way", "case") else int(row[key]) for key in NAMED}
    return told | {key: float(value) for key, value in row.items() if key not in NAMED}


def summed(rows: Sequence[Mapping]) -> dict[str, object]:
    """Means over all cases; ``se`` is the standard error of the mean over draws.

    The cases of a draw share their images, so it is draws that are independent. ``inside`` of as
    many cases comes with its 90% interval, which takes each case for one of its own.
    """
    figures = [key for key in rows[0] if key not in NAMED]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in figures}
    inside = Rate(round(sum(row["inside"] for row in rows)), len(rows))
    seeds = sorted({row["seed"] for row in rows})
    return {
        "draws": len(seeds),
        "alarms": mean.pop("alarms"),
        "± sd": float(np.std([row["alarms"] for row in rows])),
        "alarms se": _error(rows, seeds, "alarms"),
        "recall": mean.pop("recall"),
        "recall se": _error(rows, seeds, "recall"),
        **mean,
        "inside of": str(inside),
    }


def _error(rows: Sequence[Mapping], seeds: Sequence[int], key: str) -> float:
    means = [np.mean([row[key] for row in rows if row["seed"] == seed]) for seed in seeds]
    return float(np.std(means, ddof=1) / len(means) ** 0.5) if len(means) > 1 else float("nan")
