"""What the thresholds of a product's sites decided on their test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.report.model import Cell, Row, Table, row, table
from fedpatchcore.report.story import MANY_SITES, WEAKEST
from fedpatchcore.report.words import percent

__all__ = ["Verdicts", "verdicts"]

HEAD = (
    "site",
    "defects found",
    "good parts passed",
    "TP",
    "FN",
    "TN",
    "FP",
    "false alarms",
    "promised",
    "threshold",
    "held out",
)


@dataclass(frozen=True)
class Verdicts:
    """Verdicts by site, and of all sites together.

    Attributes:
        found, defects, alarms, good, decided: test images over the ``decided`` sites, those
            with a threshold.
        table: all sites.
        weakest: of many sites those with the most errors; else None.
    """

    found: int
    defects: int
    alarms: int
    good: int
    decided: int
    table: Table
    weakest: Table | None


def verdicts(results: Mapping[str, Mapping[str, Any]]) -> Verdicts:
    """From the results of a product, by site."""
    decided = [_counts(r) for r in results.values() if r.get("threshold") is not None]
    tp, fn, tn, fp = (sum(c[at] for c in decided) for at in range(4))
    rows = [_verdict(site, r) for site, r in results.items()]
    weakest, fold = None, ""
    if len(rows) > MANY_SITES:
        weak = sorted(results, key=lambda s: -_wrong(results[s]))[:WEAKEST]
        weakest = table(HEAD, [_verdict(s, results[s]) for s in weak], left=3)
        fold = f"all {len(rows)} sites"
    return Verdicts(
        found=tp,
        defects=tp + fn,
        alarms=fp,
        good=tn + fp,
        decided=len(decided),
        table=table(HEAD, rows, left=3, fold=fold),
        weakest=weakest,
    )


def _verdict(site: str, result: Mapping[str, Any]) -> Row:
    threshold = result.get("threshold")
    held = result.get("held_out") or 0
    if threshold is None:
        return row(site, "–", "–", *(["–"] * 7), held)
    tp, fn, tn, fp = _counts(result)
    alarms = fp / (tn + fp) if tn + fp else None
    promised = result.get("promised_fpr")
    over = alarms is not None and promised is not None and alarms > promised
    told = Cell(percent(alarms), "down" if over else "")
    cells = [_bar(tp, fn), _bar(tn, fp), tp, fn, tn, fp]
    return row(site, *cells, told, percent(promised), f"{threshold:.4g}", held)


def _wrong(result: Mapping[str, Any]) -> float:
    """Share of wrong verdicts."""
    tp, fn, tn, fp = _counts(result)
    return (fn + fp) / max(1, tp + fn + tn + fp)


def _counts(result: Mapping[str, Any]) -> tuple[int, int, int, int]:
    names = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    tp, fn, tn, fp = (int(result.get(name) or 0) for name in names)
    return tp, fn, tn, fp


def _bar(right: int, wrong: int) -> Cell:
    if not right + wrong:
        return Cell("–")
    return Cell(f"{right} of {right + wrong}", share=right / (right + wrong))
