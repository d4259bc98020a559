"""Rounds that go on before all have answered: what comes late goes into the next version."""

from __future__ import annotations

from logging import INFO
from typing import TYPE_CHECKING

from flwr.app import MessageType
from flwr.common.logger import log

if TYPE_CHECKING:
    from server_app.strategy import FedPatchCore

__all__ = ["last_version", "note_late"]


def note_late(of: FedPatchCore) -> None:
    """Sites that this round's bank is made without, and what they had been sent."""
    late = [node for node, one in of.grid.late.items() if one.trains]
    bank = of.federation.bank
    for node in late:
        of.sent_sections.setdefault(node, tuple(bank.sections) if bank else ())
    if names := sorted(of.nodes.name(node) for node in late):
        of.federation.story.closed_early(names)
        of.run.event("closed", round=of.nodes.round, late=names, of=len(of.chosen))


def last_version(of: FedPatchCore) -> None:
    """What comes after the last round closed goes into one version more of the bank."""
    grid = of.grid
    if grid is None or not any(one.trains for one in grid.late.values()):
        return
    number = of.nodes.round = int(of.federation.history[-1]["round"]) + 1
    of.chosen = [node for node, one in grid.late.items() if one.trains]
    names = sorted(of.nodes.name(node) for node in of.chosen)
    log(INFO, "waiting for what comes late: %s", ", ".join(names))
    of.trace.begin_round(number)
    of.tell_round(names, names, of=number)
    of.aggregate_train(number - of.done, grid.late_replies())
    if of.federation.story.present:
        grid.late.clear()
        grid.enough = lambda: False
        messages = of.messages(
            MessageType.EVALUATE, number - of.done, [n for n in of.there if of.nodes.there(n)]
        )
        replies = grid.send_and_receive(messages, timeout=of.config.round_timeout)
        of.aggregate_evaluate(number - of.done, replies)
