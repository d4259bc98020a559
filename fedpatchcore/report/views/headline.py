"""The top of the report: what ran, what went wrong, the figures to remember."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.comparison import METHODS, NAMES, shown, weakest
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.robustness import left_out
from fedpatchcore.report.words import amount, seconds, size

__all__ = ["Headline", "headline", "mean_of"]

MOST_TOLD = 20


@dataclass(frozen=True)
class Told:
    """One thing that happened: words before a name, the name, words after it."""

    before: str
    name: str = ""
    after: str = ""


@dataclass(frozen=True)
class Alert:
    """Things to know; ``more`` of them are not listed."""

    title: str
    look: str
    items: list[Told]
    more: int


@dataclass(frozen=True)
class Tile:
    """A figure to remember."""

    value: str
    what: str
    more: str = ""
    look: str = ""


@dataclass(frozen=True)
class Headline:
    """What ran; ``attack`` is empty unless virtual sites attacked, ``share`` of them."""

    name: str
    sites: int
    sections: int
    rows: int
    rounds: int
    architecture: str
    aggregation: str
    attack: str
    share: float | None
    alerts: list[Alert]
    tiles: list[Tile]


def headline(story: Story) -> Headline:
    """Title, what ran, what went wrong, and the figures to remember."""
    return Headline(
        name=story.name,
        sites=len(story.header["sites"]),
        sections=len(story.header["sections"]),
        rows=_rows(story),
        rounds=len(story.rounds),
        architecture=story.header["fingerprint"]["architecture"],
        aggregation=story.header["aggregation"],
        attack=str(story.config.get("attack") or ""),
        share=story.config.get("malicious-fraction"),
        alerts=_alerts(story),
        tiles=_tiles(story),
    )


def mean_of(values: list[float]) -> float:
    """Mean of the finite values, NaN without any."""
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _rows(story: Story) -> int:
    return sum(s["rows"] for s in story.header["sections"])


def _alerts(story: Story) -> list[Alert]:
    bad: list[Told] = []
    mild: list[Told] = []
    several = len(story.rounds) > 1
    kept = story.config.get("keep-absent-sites", True)
    absence = "its last contribution stays in the bank" if kept else "its rows left the bank"
    for record in story.rounds:
        when = f"Round {record.get('round')}: " if several else ""
        for site, reason in sorted((record.get("rejected") or {}).items()):
            bad.append(_told(when, site, "was refused", reason))
        for site, reason in sorted((record.get("lost") or {}).items()):
            bad.append(_told(when, site, "was lost", reason))
        gone = left_out(record, story.config)
        for site, reason in sorted((record.get("outliers") or {}).items()):
            what = "was left out as an outlier" if site in gone else "stands out, but was admitted"
            bad.append(_told(when, site, what, reason))
        for site in record.get("absent") or []:
            mild.append(_told(when, site, "was absent", absence))
        bad += [Told(f"{when}{note}") for note in record.get("notes") or []]
        for site, told in sorted((record.get("evaluate") or {}).items()):
            mild += [Told(when, site, f": {note}") for note in told.get("notes") or []]
        for name, facts in sorted((record.get("sections") or {}).items()):
            mild += [Told(f"{when}section ", name, f": {text}") for text in _rows_told(facts)]
    return [
        Alert(title, look, items[:MOST_TOLD], max(0, len(items) - MOST_TOLD))
        for title, items, look in (
            ("Not everything went well", bad, "alert bad"),
            ("Worth knowing", mild, "alert"),
        )
        if items
    ]


def _told(when: str, site: str, what: str, reason: str) -> Told:
    return Told(f"{when}site ", site, f" {what}: {reason}")


def _rows_told(facts: Mapping[str, Any]) -> list[str]:
    """Offered rows of a section that the bank does not rest on, or rests on lightly."""
    told, rows = [], facts.get("rejected_rows")
    if "noise_error" in facts:
        lost = facts["of"] - facts["known"] if "known" in facts else rows
        what = amount(facts.get("of", facts.get("offered_rows") or 0), facts.get("what", "cell"))
        told += [f"{lost:,} of {what} did not rise above the noise"] if lost else []
    elif rows:
        told.append(f"{amount(rows, 'row')} rejected by the aggregation")
    if rows := facts.get("flagged"):
        told.append(f"{amount(rows, 'row')} rest on fewer sites than the aggregation asks for")
    return told


def _tiles(story: Story) -> list[Tile]:
    trips = [t for r in story.rounds for t in (r.get("train") or {}).values()]
    up = sum(t.get("wire_bytes") or t.get("bytes") or 0 for t in trips)
    evaluated = len(story.last.get("evaluate") or {})
    means = {m: mean_of([r[m] for r in story.means()]) for m in METHODS}
    low = weakest(story.rows)
    where = f"federated: {low['site']}, {low['product']}" if low else ""
    others = [m for m in METHODS if m != "federated" and story.uses(m)]
    compared = " · ".join(f"{NAMES[m]} {shown(means[m])}" for m in others)
    private = MECHANISMS.get(str(story.config.get("dp", "off")))
    sent = private.sent if private else "feature vectors"
    nbytes = _rows(story) * story.header["fingerprint"]["dimension"] * 4
    return [
        Tile(shown(means["federated"]), "mean image AUROC, federated", compared, "main"),
        Tile(shown(low["federated"] if low else None), "weakest site and product", where),
        Tile(f"{evaluated}", "sites evaluated", amount(len(story.products()), "product")),
        Tile(f"{_rows(story):,}", "rows in the bank", size(nbytes)),
        Tile(size(up), "sent by all sites", f"{sent}, no images"),
        Tile(seconds(story.metrics.get("seconds")), "whole run"),
    ]
