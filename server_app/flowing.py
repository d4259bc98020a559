"""A run without rounds over Flower: push to whoever is due, pull whatever is there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType
from flwr.common.logger import log

from fedpatchcore.errors import FedPatchCoreError, NotNow, RunError
from fedpatchcore.server.flow import Flow
from fedpatchcore.wire.train import unpack_train
from server_app.grid import StreamingGrid
from server_app.replies import is_gone, packet_of
from server_app.strategy import FedPatchCore

__all__ = ["Flowing"]

LOOK_SECONDS = 2.0  # between two looks at who is online


class Flowing:
    """The loop; decisions are `fedpatchcore.server.flow.Flow`'s, messages the strategy's."""

    def __init__(self, strategy: FedPatchCore, grid: StreamingGrid) -> None:
        self.s, self.grid = strategy, grid
        self.flow = Flow(strategy.federation)
        self._ends: dict[int, float] = {}  # of nodes at work: when they count as lost
        self._sent: dict[int, int] = {}  # bytes that these were sent
        self._asked: dict[int, float] = {}  # until when nodes have time to say who they are
        self._turned: dict[int, int] = {}  # the model at which a node was turned away
        self._looked = 0.0

    def run(self) -> None:
        """Until the model has moved often enough; then all sites judge by the last bank.

        Raises QuorumError: fewer than ``min-sites`` sites for ``wait-seconds``.
        """
        s, grid = self.s, self.grid
        s.begin(grid)
        s.summary()
        s.nodes.round = self.flow.version + 1
        s.trace.begin_round(s.nodes.round)
        online = s.nodes.wait(grid)
        self._join(s.nodes.roll_call(online, grid))
        self._turned = dict.fromkeys(online, self.flow.version)
        self._begin()
        while not self.flow.over:
            self._look()
            for site in self.flow.due():
                self._send(site)
            before = self.flow.heard
            for reply in grid.arrived():
                self._take(grid.node_of(reply), reply)
                del reply
                if self.flow.over:
                    break
            self._expire()
            self.flow.check(time.monotonic())
            if self.flow.heard == before:
                time.sleep(grid.poll)
        log(INFO, "nobody is asked any more: %s", self.flow.over)
        for node in list(self._ends):  # still at work: it judges when it is done with that
            grid.forget(node)
        number, timeout = self.flow.version - s.done, s.config.round_timeout
        asked = s.configure_evaluate(number, ArrayRecord(), ConfigRecord(), grid)
        s.aggregate_evaluate(number, grid.send_and_receive(asked, timeout=timeout))

    def _begin(self) -> None:
        """The next version of the model is waited for."""
        s = self.s
        s.nodes.round = self.flow.version + 1
        s.tell_round(self.flow.usable, len(s.nodes.here))
        s.outbox.begin(MessageType.TRAIN, s.nodes.round)

    def _send(self, site: str) -> None:
        node = self.s.nodes.here.get(site)
        if node is None:
            return self.flow.left(site)
        self.s.outbox.once_more(node)
        before = self.s.outbox.sent_to(site)
        self.flow.ask(site)
        self._push(node, self.s.message(MessageType.TRAIN, node))
        self._sent[node] = self.s.outbox.sent_to(site) - before

    def _push(self, node: int, message: Message) -> None:
        self.grid.send(message)
        self._ends[node] = time.monotonic() + self.s.config.round_timeout

    def _take(self, node: int, reply: Message) -> None:
        """An answer: of a node to who it is, or of a site to what it was sent."""
        s = self.s
        if self._asked.pop(node, None) is not None:
            s.nodes.introduced(node, reply)
            self._join(s.nodes.admitted({node}))
            self._turned[node] = self.flow.version
            return
        seconds = s.config.round_timeout - (self._ends.pop(node) - time.monotonic())
        site, due = s.nodes.name(node), False
        try:
            packet = packet_of(reply)
            s.outbox.heard(node, packet)
            trained = unpack_train(packet)
            s.nodes.same_site(trained.site, site)
            started = self.flow.busy.get(site)
            due = self.flow.answered(trained, seconds=seconds)
            more = {"turn": started.turn + 1, "started_from": started.version}
            facts = s.tell_trained(trained, seconds, down_bytes=self._sent.pop(node), **more)
            s.trace.answered(node, site, facts)
        except RunError:
            raise  # our own disk, not the site
        except NotNow as error:
            s.nodes.later(node, str(error))
            self.flow.left(site)
        except FedPatchCoreError as error:
            if (records := s.full_instead(node, reply)) is not None:  # the whole bank, as it is now
                self.flow.ask(site)
                ttl = s.config.round_timeout
                return self._push(node, s.nodes.message(node, MessageType.TRAIN, records, ttl=ttl))
            self._failed(node, str(error), gone=is_gone(reply))
        except Exception as error:
            s.nodes.unusable(node, error)
            self.flow.failed(site)
        if due:
            self._made()

    def _failed(self, node: int, reason: str, *, gone: bool = True) -> None:
        self.s.nodes.without(node, reason, gone=gone)
        self.flow.failed(self.s.nodes.name(node))

    def _made(self) -> None:
        """A bank is made, and saved; the last one only after it was judged."""
        s, number = self.s, self.flow.version + 1
        s.make_bank(number, self.flow.made)
        if self.flow.over:
            return
        s.close(number)
        self._begin()

    def _expire(self) -> None:
        now, s = time.monotonic(), self.s
        for node, _ in [
            one for one in (*self._ends.items(), *self._asked.items()) if now >= one[1]
        ]:
            self.grid.forget(node)
            if self._ends.pop(node, None):
                self._failed(node, f"no reply within round-timeout ({s.config.round_timeout:g} s)")
            elif self._asked.pop(node):
                s.nodes.without(node, f"no answer to the roll call in {s.nodes.patience:g} s")
                self._turned[node] = self.flow.version

    def _look(self) -> None:
        """Who went, who came; nobody waits for what a new one has to say."""
        now, nodes = time.monotonic(), self.s.nodes
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        for message in nodes.strangers(sorted(self.grid.get_node_ids()), self.grid):
            node = message.metadata.dst_node_id
            busy = node in self._asked or node in self._ends  # it went away for a moment
            if not busy and self._turned.get(node) != self.flow.version:
                self._asked[node] = now + nodes.patience
                self.grid.send(message)
        for site in self.flow.waiting:
            if site not in nodes.here:
                self.flow.left(site)

    def _join(self, nodes: Iterable[int]) -> None:
        self.flow.joined(self.s.nodes.name(node) for node in nodes)
