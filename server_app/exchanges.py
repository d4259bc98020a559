"""A conversation of several questions to each site, over Flower's messages: sums, candidates."""

from __future__ import annotations

from collections.abc import Iterable
from logging import INFO
from typing import Any

from flwr.app import Message
from flwr.common.logger import log

from fedpatchcore.errors import FedPatchCoreError, NotNow, RunError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.server.conversation import Conversation
from server_app.attendance import Attendance
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, packet_of

__all__ = ["Exchanges"]


class Exchanges:
    """Carries a conversation.

    Args:
        timeout: seconds an exchange may take.
    """

    def __init__(
        self, nodes: Attendance, outbox: Outbox, trace: RunTrace, *, timeout: float
    ) -> None:
        self._nodes, self._outbox, self._trace = nodes, outbox, trace
        self._timeout = timeout

    def run(self, talk: Conversation, asked: Iterable[int], grid: StreamingGrid) -> dict[str, Any]:
        """All exchanges, until there is none left; the facts."""
        by_site = {self._nodes.name(node): node for node in asked}
        self._outbox.begin(talk.phase, talk.number)
        while exchange := talk.exchange:
            messages = [self._message(talk, site, by_site[site]) for site in talk.asked]
            self._collect(talk, grid.send_and_receive(messages, timeout=self._timeout), grid)
            talk.close()
            log(INFO, "%s, exchange '%s': %s sites", talk.what, exchange, len(talk.asked))
        return talk.finish()

    def _message(self, talk: Conversation, site: str, node: int) -> Message:
        records = self._outbox.stamped(talk.question(site), site)
        return self._nodes.message(node, talk.kind, records, ttl=self._timeout)

    def _collect(self, talk: Conversation, replies: Iterable[Message], grid: StreamingGrid) -> None:
        """Each answer; who gives none that fits is left out by name."""
        for reply in replies:
            node = grid.node_of(reply)
            site = self._nodes.name(node)
            try:
                talk.take(packet_of(reply), site)
                self._trace.answered(node, site, {})
            except RunError:
                raise  # our own disk, not the site
            except NotNow as error:
                talk.without(site, str(error))
                self._nodes.later(node, str(error))
            except FedPatchCoreError as error:
                talk.without(site, str(error))
                self._nodes.without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self._nodes.unusable(node, error)
        for node in grid.unanswered:
            reason = f"no reply within round-timeout ({self._timeout:g} s)"
            self._nodes.without(node, reason)
