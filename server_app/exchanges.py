"""The exchanges of a secure sum over Flower's messages: five questions to each site in a round."""

from __future__ import annotations

from collections.abc import Iterable
from logging import INFO
from typing import Any

from flwr.app import Message
from flwr.common.logger import log

from fedpatchcore.errors import FedPatchCoreError, NotNow, RunError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.server.secure_round import SecureRound
from server_app.attendance import Attendance
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, packet_of

__all__ = ["Exchanges"]

KIND = "train.sums"


class Exchanges:
    """Carries one round's secure sum.

    Args:
        timeout: seconds an exchange may take.
    """

    def __init__(
        self, nodes: Attendance, outbox: Outbox, trace: RunTrace, *, timeout: float
    ) -> None:
        self._nodes, self._outbox, self._trace = nodes, outbox, trace
        self._timeout = timeout

    def run(self, secure: SecureRound, asked: Iterable[int], grid: StreamingGrid) -> dict[str, Any]:
        """All exchanges, until the sum is open or stays closed; its facts."""
        by_site = {self._nodes.name(node): node for node in asked}
        self._outbox.begin("train", secure.number)
        while exchange := secure.exchange:
            messages = [self._message(secure, site, by_site[site]) for site in secure.asked]
            self._collect(secure, grid.send_and_receive(messages, timeout=self._timeout), grid)
            secure.close()
            log(INFO, "secure sum, exchange '%s': %s sites", exchange, len(secure.asked))
        return secure.finish()

    def _message(self, secure: SecureRound, site: str, node: int) -> Message:
        records = self._outbox.stamped(secure.question(site), site)
        return self._nodes.message(node, KIND, records, ttl=self._timeout)

    def _collect(
        self, secure: SecureRound, replies: Iterable[Message], grid: StreamingGrid
    ) -> None:
        """Each answer to the sum; who gives none that fits is left out by name."""
        for reply in replies:
            node = grid.node_of(reply)
            site = self._nodes.name(node)
            try:
                secure.take(packet_of(reply), site)
                self._trace.answered(node, site, {})
            except RunError:
                raise  # our own disk, not the site
            except NotNow as error:
                secure.half.left.setdefault(site, str(error))
                self._nodes.later(node, str(error))
            except FedPatchCoreError as error:
                secure.half.left.setdefault(site, str(error))
                self._nodes.without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self._nodes.unusable(node, error)
        for node in grid.unanswered:
            reason = f"no reply within round-timeout ({self._timeout:g} s)"
            self._nodes.without(node, reason)
