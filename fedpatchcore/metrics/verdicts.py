"""What thresholds decided on test images: defects found, good parts stopped, by kind of defect.

From the record of a site's evaluation (`fedpatchcore.wire.messages.ProductResult` as plain values)
to rates that say how little a few images prove.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.rates import Rate

__all__ = ["Verdict", "alone", "decided", "kinds_found", "total", "verdict", "verdicts_told"]

NONE = Rate(0, 0)


@dataclass(frozen=True)
class Verdict:
    """Verdicts of one threshold, or of several together.

    Attributes:
        found: of the defects.
        stopped: of the good parts: false alarms.
        kinds: found by kind of defect; empty where not told.
    """

    found: Rate = NONE
    stopped: Rate = NONE
    kinds: Mapping[str, Rate] = field(default_factory=dict)

    @property
    def missed(self) -> Rate:
        """Of the defects."""
        return Rate(self.found.of - self.found.count, self.found.of)

    @property
    def wrong(self) -> Rate:
        """Of all test images."""
        return self.missed + self.stopped

    @property
    def worst_first(self) -> list[tuple[str, Rate]]:
        """Kinds of defect, those that are missed most before the others."""
        return sorted(self.kinds.items(), key=lambda one: (one[1].share, -one[1].of, one[0]))

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` and ``--json`` keep it."""
        return {
            "defects_found": self.found.told(),
            "good_stopped": self.stopped.told(),
            "kinds": {name: rate.told() for name, rate in self.worst_first},
        }

    def __str__(self) -> str:
        """``defects found 3 of 4 (75%, 25%–99%), good parts stopped …``; empty of no images."""
        told = (("defects found", self.found), ("good parts stopped", self.stopped))
        return ", ".join(f"{what} {rate}" for what, rate in told if rate.of)

    def __add__(self, other: Verdict) -> Verdict:
        names = sorted({*self.kinds, *other.kinds})
        kinds = {n: self.kinds.get(n, NONE) + other.kinds.get(n, NONE) for n in names}
        return Verdict(self.found + other.found, self.stopped + other.stopped, kinds)


def verdict(result: Mapping[str, Any]) -> Verdict | None:
    """By the threshold of the bank in use; None where there is none, or the site keeps it."""
    if not decided(result.get("threshold")):
        return None
    tp, fn, fp, tn = (
        int(result.get(f"{right}_{called}") or 0)
        for right, called in (
            ("true", "positives"),
            ("false", "negatives"),
            ("false", "positives"),
            ("true", "negatives"),
        )
    )
    kinds = {name: Rate(*counts) for name, counts in (result.get("kinds") or {}).items()}
    return Verdict(Rate(tp, tp + fn), Rate(fp, fp + tn), kinds)


def alone(result: Mapping[str, Any], which: str = "local") -> Verdict | None:
    """By the site's own bank and its own threshold; None where these were not compared.

    Args:
        which: or by another bank beside the one in use, whose figures are named so.
    """
    if not decided(result.get(f"{which}_threshold")):
        return None
    counts = [int(result.get(f"{which}_{name}_positives") or 0) for name in ("true", "false")]
    bad, good = (int(result.get(name) or 0) for name in ("defective", "good"))
    return Verdict(Rate(counts[0], bad), Rate(counts[1], good))


def kinds_found(defects: Iterable[tuple[str, bool]]) -> dict[str, Rate]:
    """Kind of each defect, and whether it was found → found by kind."""
    kinds: dict[str, Rate] = {}
    for name, found in defects:
        kinds[name] = kinds.get(name, NONE) + Rate(int(found), 1)
    return kinds


def total(verdicts: Iterable[Verdict | None]) -> Verdict:
    """Of all of them together; those that are None are left out."""
    return sum((one for one in verdicts if one is not None), Verdict())


def decided(threshold: Any) -> bool:
    """Whether there is a threshold to decide by."""
    return threshold is not None and math.isfinite(threshold)


def verdicts_told(record: Mapping[str, Any], *, withheld: bool = False) -> dict[str, Any]:
    """A round's record → what its thresholds decided, by product, over the sites that have one.

    Beside the rates stand how many ``sites`` they are over, the largest share that was
    ``promised`` and the ends of the 90% intervals of the true ones, ``low`` and ``high``. All are
    None where sites keep them (``withheld``).
    """
    if totals := (record.get("figures") or {}).get("products"):
        return {name: _of_totals(told) for name, told in sorted(totals.items())}
    by_product: dict[str, list[Mapping[str, Any]]] = {}
    for told in (record.get("evaluate") or {}).values():
        for product, result in (told.get("products") or {}).items():
            by_product.setdefault(product, []).append(result)
    return {
        product: dict.fromkeys(_told([])) if withheld else _told(results)
        for product, results in sorted(by_product.items())
    }


def _of_totals(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of figures that were added up under masks: nobody knows the largest promise, or kinds."""
    rates = {name: told[name] for name in ("defects_found", "good_stopped")}
    blank = dict.fromkeys(("promised", "low", "high"))
    return {"sites": told["decided"], **blank, **rates, "kinds": {}}


def _told(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    judged = [r for r in results if decided(r.get("threshold"))]
    promises = [p for p in map(Promise.of_result, judged) if p is not None]
    return {
        "sites": len(judged),
        "promised": max((p.promised for p in promises), default=None),
        "low": min((p.low for p in promises), default=None),
        "high": max((p.high for p in promises), default=None),
        **total(map(verdict, judged)).told(),
    }
