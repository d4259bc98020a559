"""What the thresholds of a product's sites decided on their test images, and had promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.rates import Rate, percent
from fedpatchcore.metrics.verdicts import Verdict, total, verdict
from fedpatchcore.report.model import Cell, Row, Table, row, table
from fedpatchcore.report.story import MANY_SITES, WEAKEST
from fedpatchcore.report.views.banks import by_bank

__all__ = ["MARK", "Verdicts", "verdicts"]

MARK = "▲"
HEAD = ("site", "rests on", "threshold", "promised (true)", "false alarms", "missed defects")
NEW_GROUP = "new group"


@dataclass(frozen=True)
class Verdicts:
    """Verdicts by site, and of all sites together.

    Attributes:
        all: test images over the ``decided`` sites, those with a threshold.
        target: share of false alarms that was asked for.
        table: all sites.
        weakest: of many sites those with the most errors; else None.
        groups: whether a column tells of groups that were never seen.
        kinds: by kind of defect, the worst first; ``kinds_by_site`` the same of each site. None
            where not told.
        banks: the same by other banks, see `by_bank`; empty where none was compared.
    """

    all: Verdict
    decided: int
    target: str
    table: Table
    weakest: Table | None
    groups: bool
    kinds: Table | None
    kinds_by_site: Table | None
    banks: list[Table]


def verdicts(
    results: Mapping[str, Mapping[str, Any]],
    target: float,
    pooled: Mapping[str, Mapping[str, Any]] | None = None,
) -> Verdicts:
    """From the results of a product, by site, and the share of false alarms asked for.

    Args:
        pooled: of the pooled baseline, by site.
    """
    found = {site: told for site, r in results.items() if (told := verdict(r)) is not None}
    promises = {site: Promise.of_result(r) for site, r in results.items()}
    groups = any(p is not None and p.grouped for p in promises.values())
    head = [*HEAD[:-1], *([NEW_GROUP] if groups else []), HEAD[-1]]

    def line(site: str) -> Row:
        judged, promise = found.get(site), promises[site]
        if judged is None or promise is None:
            return row(site, *["–"] * (len(head) - 1))
        limit = f"{results[site]['threshold']:.4g}"
        new = [_new_group(promise, target)] if groups else []
        told = [_promised(promise, target), _alarms(judged.stopped, promise), *new]
        return row(site, Cell(promise.basis, "line"), limit, *told, _missed(judged.found))

    every = total(found.values())
    rows, weakest, fold = [line(site) for site in results], None, ""
    if len(rows) > MANY_SITES:
        weak = sorted(found, key=lambda s: -(found[s].wrong.share if found[s].wrong.of else 0))
        weakest, fold = table(head, map(line, weak[:WEAKEST]), left=2), f"all {len(rows)} sites"
    if len(found) > 1:
        blank = [""] if groups else []
        told = [Cell(str(every.stopped)), *blank, Cell(str(every.missed))]
        rows.append(row("all sites", "", "", "", *told, look="sum"))
    return Verdicts(
        all=every,
        decided=len(found),
        target=percent(target),
        table=table(head, rows, left=2, fold=fold),
        weakest=weakest,
        groups=groups,
        kinds=_kinds(every),
        kinds_by_site=_kinds_by_site(found),
        banks=by_bank(results, pooled or {}),
    )


def _promised(promise: Promise, target: float) -> Cell:
    return _marked(str(promise), promise.falls_short(target))


def _alarms(rate: Rate, promise: Promise) -> Cell:
    """Marked where the true share lies above the promised ones, whatever it is."""
    return _marked(str(rate), bool(rate.of) and rate.interval[0] > promise.high)


def _new_group(promise: Promise, target: float) -> Cell:
    told = percent(promise.new_group) if promise.grouped else "–"
    return _marked(told, promise.fails_new_groups(target))


def _marked(text: str, over: bool) -> Cell:
    return Cell(f"{MARK} {text}", "down") if over else Cell(text)


def _missed(found: Rate) -> Cell:
    missed = Rate(found.of - found.count, found.of)
    return Cell(str(missed), share=found.share if found.of else None)


def _found(rate: Rate) -> Cell:
    return Cell(str(rate), share=rate.share if rate.of else None)


def _kinds(every: Verdict) -> Table | None:
    if not every.kinds:
        return None
    return table(
        ["kind of defect", "found"],
        [row(name, _found(rate)) for name, rate in every.worst_first],
        left=2,
    )


def _kinds_by_site(found: Mapping[str, Verdict]) -> Table | None:
    rows = [
        row(site, name, _found(rate))
        for site, told in found.items()
        for name, rate in told.worst_first
    ]
    head = ["site", "kind of defect", "found"]
    several = len([s for s in found.values() if s.kinds]) > 1
    return table(head, rows, left=3, fold="kinds of defect by site") if several else None
