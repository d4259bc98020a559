"""Who took part in which round: trained, passed over, not now, late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.report.model import Row, Section, Table, row, table
from fedpatchcore.report.story import Story

__all__ = ["Turns", "turns"]

KINDS = ("selection", "not_now", "late")
NAMED = 12  # sites of one cell; more are counted
OPEN = 12  # rounds; more are folded


@dataclass(frozen=True)
class Turns:
    """What the section shows.

    Attributes:
        selection: how sites were chosen; "" where all were asked.
        a_round: how many were to be, as the settings say.
        pause: rounds that a site may be passed over.
        closes: when rounds went on, in words; "" when all had answered.
        table: a line a round.
    """

    selection: str
    a_round: str
    pause: str
    closes: str
    table: Table


def turns(story: Story) -> list[Section]:
    """One section; nothing where every site took part in every round and was waited for."""
    late = any(
        told.get("late_from")
        for record in story.rounds
        for told in (record.get("train") or {}).values()
    )
    if not late and not any(record.get(key) for record in story.rounds for key in KINDS):
        return []
    lines = [_line(record) for record in story.rounds]
    head = ["round", "trained", "passed over", "not now", "not waited for"]
    fold = f"all {len(lines)} rounds" if len(lines) > OPEN else ""
    told = story.config
    chosen = any(record.get("selection") for record in story.rounds)
    view = Turns(
        str(told.get("selection") or "") if chosen else "",
        str(told.get("sites-per-round") or f"{told.get('client-fraction')} of them"),
        str(told.get("longest-pause") or ""),
        _closes(told),
        table(head, lines, left=5, fold=fold),
    )
    return [Section("Who took part", "turns", "turns.html.j2", view)]


def _closes(config: Mapping[str, Any]) -> str:
    share, seconds = config.get("round-closes-at"), config.get("round-closes-after")
    told = []
    if isinstance(share, int | float) and share < 1:
        told.append(f"{share:.0%} of the asked sites had answered")
    if isinstance(seconds, int | float) and seconds > 0:
        told.append(f"{seconds:g} s were over")
    return " or ".join(told)


def _line(record: Mapping[str, Any]) -> Row:
    why = (record.get("selection") or {}).get("why") or {}
    trained = []
    for site, told in sorted((record.get("train") or {}).items()):
        of = f"late, of round {told['late_from']}" if told.get("late_from") else why.get(site)
        trained.append(f"{site} ({of})" if of else site)
    refused = [
        f"{site}: {reason}" for site, reason in sorted((record.get("not_now") or {}).items())
    ]
    passed = (record.get("selection") or {}).get("passed_over") or ()
    late = record.get("late") or ()
    return row(record.get("round"), *map(_named, (trained, passed, refused, late)))


def _named(names: Iterable[str]) -> str:
    told = list(names)
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return ", ".join(told[:NAMED]) + more if told else "–"
