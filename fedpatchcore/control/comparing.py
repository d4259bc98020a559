"""Runs side by side: the settings in which they differ, figures of each product and site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.control.tables import Run, RunDetail

__all__ = ["Compared", "compared"]

ALWAYS = ("out-dir", "run-name", "resume")


@dataclass(frozen=True)
class Compared:
    """What a page shows.

    Attributes:
        settings: ``(key, default, [value a run])``; of a single run where it is not the default.
        figures: ``(product, site, [image AUROC a run], best)``; ``best``: the highest of them.
    """

    settings: list[tuple[str, Any, list[Any]]]
    figures: list[tuple[str, str, list[float | None], float | None]]


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
    return Compared(settings, _figures([detail.results for _, detail in chosen]))


def _figures(
    results: Sequence[list[dict[str, Any]]],
) -> list[tuple[str, str, list[float | None], float | None]]:
    by_place: dict[tuple[str, str], list[float | None]] = {}
    for at, rows in enumerate(results):
        for row in rows:
            place = (str(row.get("product")), str(row.get("site")))
            by_place.setdefault(place, [None] * len(results))[at] = row.get("federated")
    told = []
    for (product, site), values in sorted(by_place.items(), key=lambda one: _last(one[0])):
        best = max((v for v in values if v is not None), default=None)
        told.append((product, site, values, best if len(set(values)) > 1 else None))
    return told


def _last(place: tuple[str, str]) -> tuple[str, bool, str]:
    return place[0], place[1] == "mean", place[1]
