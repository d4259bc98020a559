"""What was trained: the loss round by round, what moved, and what it took on the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.methods.registry import METHODS
from fedpatchcore.report.model import Cell, Row, Section, Table, row, table
from fedpatchcore.report.story import Story

__all__ = ["Trained", "training"]

MOST = 400  # lines of the table: a page that opens
OPEN = 12  # more are folded


@dataclass(frozen=True)
class Trained:
    """What the section shows.

    Attributes:
        method: in words.
        optimiser, wire: of the updates; empty where none travelled.
        fell: sections whose loss fell from the first round to the last, and of how many.
        watched: whether held-out images were.
        flowing: whether updates counted as they came, some models behind.
        table: a line a section and round.
        more: lines that are not in it.
    """

    method: str
    optimiser: str
    wire: str
    fell: tuple[int, int]
    watched: bool
    flowing: bool
    table: Table
    more: int


def training(story: Story) -> list[Section]:
    """One section; nothing where nothing was trained."""
    told = [
        (record, name, facts)
        for record in story.rounds
        for name, facts in sorted((record.get("sections") or {}).items())
        if facts.get("updates")
    ]
    if not told:
        return []
    names = sorted({name for _, name, _ in told})
    losses = {n: [f.get("train_loss") for _, name, f in told if name == n] for n in names}
    known = {n: [one for one in each if one is not None] for n, each in losses.items()}
    compared = [each for each in known.values() if len(each) > 1]
    several, watched = len(names) > 1, any("held_out_loss" in facts for *_, facts in told)
    head = ["round", *(["product"] if several else []), "sites", "local steps", "loss"]
    flowing = any(facts.get("arrivals") for *_, facts in told)
    head += [*(["held out"] if watched else []), *(["behind"] if flowing else []), "moved"]
    lines = [_line(record, name, facts, several, watched, flowing) for record, name, facts in told]
    method = METHODS.get(str(story.config.get("method")))
    view = Trained(
        method=method.label if method else str(story.config.get("method")),
        optimiser=str(told[-1][2].get("optimiser", "")),
        wire=str(story.config.get("update-wire", "")),
        flowing=flowing,
        fell=(sum(each[-1] < each[0] for each in compared), len(compared)),
        watched=watched,
        table=table(
            tuple(head),
            lines[:MOST],
            left=2 if several else 1,
            fold=f"all {len(lines)} lines" if len(lines) > OPEN else "",
        ),
        more=max(0, len(lines) - MOST),
    )
    return [Section("Training", "training", "training.html.j2", view)]


def _line(
    record: Mapping[str, Any],
    name: str,
    facts: Mapping[str, Any],
    several: bool,
    watched: bool,
    flowing: bool,
) -> Row:
    steps = (facts.get("steps") or {}).values()
    cells: list[object] = [record.get("round", "")]
    cells += [name] if several else []
    cells += [facts["updates"], _span(steps), _figure(facts.get("train_loss"))]
    cells += [_figure(facts.get("held_out_loss"))] if watched else []
    late = [one.get("late", 0) for one in facts.get("arrivals") or ()]
    cells += [_span(late)] if flowing else []
    return row(*cells, _figure(facts.get("moved")))


def _span(counts: Iterable[int]) -> str:
    ranked = sorted(counts)
    if not ranked:
        return "–"
    least, most = f"{ranked[0]:,}", f"{ranked[-1]:,}"
    return least if least == most else f"{least} to {most}"


def _figure(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.4g}")
