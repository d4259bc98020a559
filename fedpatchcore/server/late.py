"""Rounds that go on before all have answered: what comes late goes into the next version.

Of the strategy and the grid that carry the messages nothing is known but what is called here.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["last_version", "note_late"]


def note_late(of: Any) -> None:
    """Sites that this round's bank is made without, and what they had been sent."""
    late = [node for node, one in of.grid.late.items() if one.trains]
    bank = of.federation.bank
    for node in late:
        of.sent_sections.setdefault(node, tuple(bank.sections) if bank else ())
    if names := sorted(of.nodes.name(node) for node in late):
        of.federation.story.closed_early(names)
        of.run.event("closed", round=of.nodes.round, late=names, of=len(of.chosen))


def last_version(of: Any) -> None:
    """What comes after the last round closed goes into one version more of the bank."""
    grid = of.grid
    if grid is None or not any(one.trains for one in grid.late.values()):
        return
    number = of.nodes.round = int(of.federation.history[-1]["round"]) + 1
    of.chosen = [node for node, one in grid.late.items() if one.trains]
    names = sorted(of.nodes.name(node) for node in of.chosen)
    of.federation.say(f"waiting for what comes late: {', '.join(names)}")
    of.trace.begin_round(number)
    of.tell_round(names, len(names), chosen=names, of=number)
    of.aggregate_train(number - of.done, _all_late(grid))
    if of.federation.story.present:
        grid.late.clear()
        asked = of.messages("evaluate", number - of.done, of.nodes.here.values())
        grid.enough = lambda: False
        replies = grid.send_and_receive(asked, timeout=of.config.round_timeout)
        of.aggregate_evaluate(number - of.done, replies)


def _all_late(grid: Any) -> Any:
    """All that is late, as it comes, until its time is over."""
    while any(one.trains for one in grid.late.values()):
        yield from grid.came_late()
        if grid.late:
            time.sleep(grid.poll)
