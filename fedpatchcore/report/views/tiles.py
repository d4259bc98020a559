"""The figures to remember: what an inspector asks first, then how banks compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedpatchcore.metrics.comparison import METHODS, NAMES, shown, weakest
from fedpatchcore.metrics.promises import Promise, range_of
from fedpatchcore.metrics.rates import Rate, percent, spanned
from fedpatchcore.metrics.verdicts import total, verdict
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.report.story import WITHHELD, Story
from fedpatchcore.report.words import amount, seconds, size

__all__ = ["Tile", "first_tiles", "mean_of", "tiles"]


@dataclass(frozen=True)
class Tile:
    """A figure to remember."""

    value: str
    what: str
    more: str = ""
    look: str = ""


def first_tiles(story: Story) -> list[Tile]:
    """What thresholds found and stopped, beside what they had promised; all sites together."""
    found, stopped, promised = "defects found", "good parts stopped", "promised false alarms"
    if story.withholds:
        kept = "each site has its own in its private.json"
        return [Tile(WITHHELD, what, kept, "main") for what in (found, stopped, promised)]
    if story.totals:
        return _added(story)
    results = [r for name in story.products() for r in story.results(name).values()]
    decided = [r for r in results if verdict(r) is not None]
    told = total(map(verdict, decided))
    share, true = range_of(p for p in map(Promise.of_result, decided) if p is not None)
    asked = f", asked for were {percent(story.target)}" if decided else ""
    more = f"true share by site: {true}{asked}" if decided else "no threshold could be set"
    return [
        _rate(told.found, found, "no defects were tested", len(decided)),
        _rate(told.stopped, stopped, "no good parts were tested", len(decided)),
        Tile(share, promised, more, "main"),
    ]


def _added(story: Story) -> list[Tile]:
    """The same where sites' figures were added up and no site's is known."""
    told = list(story.totals.values())
    rates = [
        sum((Rate(one[key]["count"], one[key]["of"]) for one in told), Rate(0, 0))
        for key in ("defects_found", "good_stopped")
    ]
    promised = [one["means"]["promised_fpr"] for one in told if "promised_fpr" in one["means"]]
    sites = sum(one["sites"] for one in promised)
    mean = sum(one["mean"] * one["sites"] for one in promised) / sites if sites else math.nan
    decided = sum(one["decided"] for one in told)
    more = f"mean over thresholds, asked for were {percent(story.target)}" if sites else ""
    return [
        _rate(rates[0], "defects found", "no defects were tested", decided),
        _rate(rates[1], "good parts stopped", "no good parts were tested", decided),
        Tile(percent(mean), "promised false alarms", more or "no threshold could be set", "main"),
    ]


def _rate(rate: Rate, what: str, untested: str, thresholds: int) -> Tile:
    if rate.of:
        more = f"{percent(rate.share)}, 90% interval {spanned(*rate.interval)}"
        return Tile(f"{rate.count:,} of {rate.of:,}", what, more, "main")
    return Tile("–", what, untested if thresholds else "no threshold could be set", "main")


def tiles(story: Story) -> list[Tile]:
    """How good scores are, and how much was computed and sent."""
    trips = [t for r in story.rounds for t in (r.get("train") or {}).values()]
    up = sum(t.get("wire_bytes") or t.get("bytes") or 0 for t in trips)
    evaluated = len(story.last.get("evaluate") or {})
    means = {m: mean_of([r[m] for r in story.means()]) for m in METHODS}
    low = weakest(story.rows)
    where = f"federated: {low['site']}, {low['product']}" if low else ""
    where = "no site's own figures are known" if story.totals else where
    others = [m for m in METHODS if m != "federated" and story.uses(m)]
    compared = " · ".join(f"{NAMES[m]} {shown(means[m])}" for m in others)
    private = MECHANISMS.get(str(story.config.get("dp", "off")))
    sent = private.sent if private else "feature vectors"
    nbytes = story.bank_rows * story.header["fingerprint"]["dimension"] * 4
    return [
        Tile(shown(means["federated"]), "mean image AUROC, federated", compared),
        Tile(shown(low["federated"] if low else None), "weakest site and product", where),
        Tile(f"{evaluated}", "sites evaluated", amount(len(story.products()), "product")),
        Tile(f"{story.bank_rows:,}", "rows in the bank", size(nbytes)),
        Tile(size(up), "sent by all sites", f"{sent}, no images"),
        Tile(seconds(story.metrics.get("seconds")), "whole run"),
    ]


def mean_of(values: list[float]) -> float:
    """Mean of the finite values, NaN without any."""
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan
