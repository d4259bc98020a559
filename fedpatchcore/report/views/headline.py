"""The top of the report: what ran, what went wrong, the figures to remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.promises import Promise
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.robustness import left_out
from fedpatchcore.report.views.tiles import Tile, first_tiles, tiles
from fedpatchcore.report.words import amount

__all__ = ["Headline", "headline"]

MOST_TOLD = 20
TOO_LARGE = "with which merging takes more memory than server-memory-gb allows"
NO_THRESHOLD = "no threshold, and so no verdict: there were no normal images to set it by"


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
    first: list[Tile]
    tiles: list[Tile]


def headline(story: Story) -> Headline:
    """Title, what ran, what went wrong, and the figures to remember."""
    return Headline(
        name=story.name,
        sites=len(story.header["sites"]),
        sections=len(story.header["sections"]),
        rows=story.bank_rows,
        rounds=len(story.rounds),
        architecture=story.header["fingerprint"]["architecture"],
        aggregation=story.header["aggregation"],
        attack=str(story.config.get("attack") or ""),
        share=story.config.get("malicious-fraction"),
        alerts=_alerts(story),
        first=first_tiles(story),
        tiles=tiles(story),
    )


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
    mild += _weights(story) + _promises(story)
    return [
        Alert(title, look, items[:MOST_TOLD], max(0, len(items) - MOST_TOLD))
        for title, items, look in (
            ("Not everything went well", bad, "alert bad"),
            ("Worth knowing", mild, "alert"),
        )
        if items
    ]


def _weights(story: Story) -> list[Told]:
    """Whose word the shares of a bank rest on, where sites count by their images."""
    if not story.config.get("weighted-by-samples"):
        return []
    told = []
    for part in story.header["sections"]:
        if sum(part["images"].values()):
            most = max(part["images"], key=part["images"].get)
            of = f"{part['images'][most]:,} of {sum(part['images'].values()):,} images"
            before = (
                f"section {part['name']}: rows are shared out by the number of images that each "
            )
            before += "site states of itself, which nobody else can check; the most has site "
            told.append(Told(before, most, f", {of} (weighted-by-samples)"))
    return told


def _promises(story: Story) -> list[Told]:
    """Where fewer false alarms were asked for than a threshold can promise."""
    told: list[Told] = []
    for product in story.products() if not story.withholds else ():
        for site, result in story.results(product).items():
            promise = Promise.of_result(result)
            lines = promise.shortcomings(story.target) if promise else [NO_THRESHOLD]
            told += [Told("site ", site, f", {product}: {line}") for line in lines]
    return told


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
    if sites := facts.get("too_large"):
        told.append(f"without the rows of {', '.join(sites)}, {TOO_LARGE}")
    if rows := facts.get("flagged"):
        told.append(f"{amount(rows, 'row')} rest on fewer sites than the aggregation asks for")
    return told
