"""Sites that stand out, and a bank that is scored by vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.report.model import Cell, Table, row, table
from fedpatchcore.report.story import MANY_SITES, Story

__all__ = ["Compared", "Robustness", "left_out", "robustness"]


@dataclass(frozen=True)
class Compared:
    """How far each site lay from the others in the last round that compared them."""

    round: object
    limit: float
    excludes: bool
    table: Table
    reasons: list[tuple[str, str]]


@dataclass(frozen=True)
class Robustness:
    """How the bank's votes are counted, and which sites stand out.

    Attributes:
        votes: sites that a low score takes; 1 if the bank is not scored by vote.
        home: whether a site that judges trusts its own rows.
        density: share of its loneliest patches that each site left out.
        asked: whether sites were to be compared.
    """

    votes: int
    home: bool
    density: float
    asked: bool
    compared: Compared | None


def robustness(story: Story) -> Robustness | None:
    """None where the run had nothing of the kind."""
    records = [r for r in story.rounds if r.get("site_scores") or r.get("outliers")]
    view = Robustness(
        votes=story.header["scoring"].get("votes", 1),
        home=bool(story.header["scoring"].get("home")),
        density=story.config.get("density-filter") or 0.0,
        asked=bool(story.config.get("robustness-enabled")),
        compared=_compared(records[-1], story.config) if records else None,
    )
    told = view.votes > 1 or view.density or view.asked or view.compared
    return view if told else None


def left_out(record: Mapping[str, Any], config: Mapping[str, Any]) -> set[str]:
    """Outliers of a round that gave no row to its bank."""
    if config.get("on-outlier") != "exclude":
        return set()
    sections = (record.get("sections") or {}).values()
    givers = {site for facts in sections for site in facts.get("sites") or ()}
    return set(record.get("outliers") or {}) - givers


def _compared(record: Mapping[str, Any], config: Mapping[str, Any]) -> Compared:
    scores: Mapping[str, Mapping[str, float]] = record.get("site_scores") or {}
    reasons: Mapping[str, str] = record.get("outliers") or {}
    limit = float(config.get("zscore-threshold") or 3.5)
    gone = left_out(record, config)
    rows = [
        row(
            site,
            *(_score(own.get(site), limit) for own in scores.values()),
            _verdict(site, reasons, gone),
        )
        for site in sorted({*reasons, *(site for own in scores.values() for site in own)})
    ]
    fold = f"all {len(rows)} sites" if len(rows) > MANY_SITES else ""
    return Compared(
        round=record.get("round"),
        limit=limit,
        excludes=config.get("on-outlier") == "exclude",
        table=table(["modified z-score of", *scores, "verdict"], rows, fold=fold),
        reasons=sorted(reasons.items()),
    )


def _score(score: float | None, limit: float) -> Cell:
    if score is None:
        return Cell("–")
    return Cell(f"{score:.1f}", "down" if score > limit else "")


def _verdict(site: str, reasons: Mapping[str, str], gone: set[str]) -> str:
    if site not in reasons:
        return "like the others"
    return "left out" if site in gone else "stands out"
