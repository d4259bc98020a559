"""Runs side by side: the settings in which they differ, figures of each product and site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.control.tables import Run, RunDetail

__all__ = ["Compared", "compared"]

Row = tuple[str, str, list[Any], Any]
VERDICTS = (("Defects found", "found", 1), ("Good parts stopped", "stopped", -1))

ALWAYS = ("out-dir", "run-name", "resume")


@dataclass(frozen=True)
class Compared:
    """What a page shows.

    Attributes:
        settings: ``(key, default, [value a run])``; of a single run where it is not the default.
        verdicts: ``(title, rows)`` of defects found and of good parts stopped; rows as those of
            ``figures`` with ``[count, of]`` a run; best: of the best share.
        figures: ``(product, site, [image AUROC a run], best)``; ``best``: the highest of them.
    """

    settings: list[tuple[str, Any, list[Any]]]
    verdicts: list[tuple[str, list[Row]]]
    figures: list[Row]


def compared(chosen: Sequence[tuple[Run, RunDetail]]) -> Compared:
    """One run, or several."""
    known = RunConfig().table()
    tables = [detail.settings for _, detail in chosen]
    keys = dict.fromkeys([*known, *(key for table in tables for key in table)])
    settings = []
    for key in keys:
        if key in ALWAYS:
            continue
        values = [table.get(key) for table in tables]
        alone = len(values) == 1 and key in tables[0] and values[0] != known.get(key)
        if alone or any(value != values[0] for value in values):
            settings.append((key, known.get(key), values))
    results = [detail.results for _, detail in chosen]
    verdicts = [
        (title, _rows(results, column, lambda told, sign=sign: sign * _share(told)))
        for title, column, sign in VERDICTS
    ]
    return Compared(settings, verdicts, _rows(results, "federated", float))


def _rows(
    results: Sequence[list[dict[str, Any]]], column: str, worth: Callable[[Any], float]
) -> list[Row]:
    by_place: dict[tuple[str, str], list[Any]] = {}
    for at, rows in enumerate(results):
        for row in rows:
            place = (str(row.get("product")), str(row.get("site")))
            by_place.setdefault(place, [None] * len(results))[at] = row.get(column)
    told = []
    for (product, site), values in sorted(by_place.items(), key=lambda one: _last(one[0])):
        there = [v for v in values if v is not None]
        differ = any(v != values[0] for v in values)
        told.append((product, site, values, max(there, key=worth) if differ and there else None))
    return told


def _share(told: Sequence[int]) -> float:
    return told[0] / told[1] if told[1] else 0.0


def _last(place: tuple[str, str]) -> tuple[str, bool, str]:
    return place[0], place[1] == "mean", place[1]
