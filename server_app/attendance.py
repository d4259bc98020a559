"""Who takes part: waiting for nodes, the roll call, and nodes that go, come or cannot be used."""

from __future__ import annotations

import time
from collections.abc import Container
from logging import ERROR, INFO, WARNING

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from client_app.records import to_records
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import FedPatchCoreError, NotNow, QuorumError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.names import Key
from fedpatchcore.server.nodes import Nodes
from fedpatchcore.server.rollcall import introduction, too_few
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.texts import one_line
from fedpatchcore.wire.facts import unpack_facts
from fedpatchcore.wire.messages import SiteFacts
from fedpatchcore.wire.packet import Packet, claimed_name
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, packet_of

__all__ = ["Attendance"]

ROLL_CALL_SECONDS = 180.0
AGAIN_SECONDS = 10.0  # between two questions to sites that do not take part now


class Attendance(Nodes):
    """Nodes by the names of their sites.

    Args:
        federation: decides who may take part.
        run: where events go.
        outbox: hears which bank a node holds.

    Attributes:
        round: number that events of nodes are told with.
    """

    def __init__(
        self,
        config: RunConfig,
        federation: Federation,
        run: RunFolder,
        outbox: Outbox,
        trace: RunTrace,
    ) -> None:
        super().__init__(config, federation)
        self.run = run
        self.outbox = outbox
        self.trace = trace
        self.round = 0
        self._not_now = False
        self._told: dict[int, SiteFacts] = {}

    @property
    def wanted(self) -> int:
        """Sites that are waited for."""
        return self.config.expected_sites or self.config.min_sites

    def wait(self, grid: Grid) -> list[int]:
        """Online nodes, once enough of them are there; QuorumError when the wait is over."""
        wanted = self.wanted
        end, told = time.monotonic() + self.config.wait_seconds, 0.0
        while len(online := sorted(grid.get_node_ids())) < wanted:
            if time.monotonic() >= end:
                if len(online) >= self.config.min_sites:
                    log(INFO, "going on with %s of %s expected sites", len(online), wanted)
                    break
                raise QuorumError(too_few(len(online), self.config))
            if time.monotonic() - told > 10:
                log(INFO, "waiting for sites: %s of %s online", len(online), wanted)
                self.run.event("waiting", online=len(online), wanted=wanted)
                told = time.monotonic()
            time.sleep(0.5)
        return online

    def gathered(self, grid: StreamingGrid) -> int:
        """Call the roll until enough take part now, or wait-seconds end; how many are online."""
        end = time.monotonic() + self.config.wait_seconds
        if self.config.selection == "adaptive":  # how many images there are now decides
            self._facts = {node: told for node, told in self._facts.items() if node in grid.late}
        while True:
            online = self.wait(grid)
            there, left = len(self.roll_call(online, grid)), end - time.monotonic()
            if there >= self.config.min_sites or not self._not_now or left <= 0:
                return len(online)
            log(INFO, "%s sites take part now, waiting for more", there)
            time.sleep(min(AGAIN_SECONDS, left))

    def roll_call(self, online: list[int], grid: Grid) -> list[int]:
        """Ask new nodes who they are; returns the nodes that take part in this round."""
        asked = self.strangers(online, grid)
        for reply in grid.send_and_receive(asked, timeout=self.patience):
            self.introduced(grid.node_of(reply), reply)
        for node in grid.unanswered if asked else []:
            self.without(node, f"no answer to the roll call in {self.patience:g} s")
        return self.admitted({message.metadata.dst_node_id for message in asked})

    @property
    def patience(self) -> float:
        """Seconds that a node has to say who it is."""
        return min(self.config.round_timeout, ROLL_CALL_SECONDS)

    def strangers(self, online: list[int], grid: Grid) -> list[Message]:
        """Questions to the nodes online that have not said who they are; the others are gone."""
        self._facts = {node: facts for node, facts in self._facts.items() if node in online}
        self._not_now = False
        self._look_up(grid.keys() if isinstance(grid, StreamingGrid) else {})
        content, ttl = to_records(Packet()), self.patience
        new = [node for node in online if node not in self._facts and node not in grid.late]
        return [self.message(node, MessageType.QUERY, content, ttl=ttl) for node in new]

    def introduced(self, node: int, reply: Message) -> None:
        """Note who a node says it is, or why it cannot be used."""
        claimed = ""
        try:
            packet = packet_of(reply)
            claimed = claimed_name(packet)
            facts = unpack_facts(packet)
            self._same_node(node, facts.site)
            self._facts[node] = facts
            self.outbox.heard(node, packet)
        except NotNow as error:
            self.later(node, str(error), claimed)
        except FedPatchCoreError as error:
            known = node in self._names or claimed in ("", f"node {node}")
            site = "" if known else f"{claimed} (node {node})"
            self.without(node, str(error), gone=is_gone(reply), site=site)
        except Exception as error:
            self.unusable(node, error)
        else:
            self.trace.answered(node, self._facts[node].site, {})

    def admitted(self, new: Container[int]) -> list[int]:
        """The nodes that take part, in the order of their sites; those that are new are told of."""
        self._hold_to_keys()
        refused = self.federation.roll_call({str(n): f for n, f in self._facts.items()})
        for node, reason in refused.items():
            facts = self._facts.pop(int(node))
            self.without(int(node), reason, gone=False, site=f"{facts.site} (node {node})")
        for node, facts in self._facts.items():
            self._names[node] = facts.site
            if self.federation.names.bind(facts.site, self._keys.get(node, Key())):
                log(WARNING, "%s: another key spoke under this name before", facts.site)
                self.federation.forget(facts.site)
            again = self.config.selection == "adaptive" and self._told.get(node) == facts
            if node in new and not again:
                self._told[node] = facts
                line, told = introduction(facts)
                log(INFO, "%s", line)
                self.run.event("site", **told)
        return sorted(self._facts, key=lambda node: self._facts[node].site)

    def message(self, node: int, kind: str, records: RecordDict, *, ttl: float) -> Message:
        """A message of shared records; a trace adds one small record of this message's own."""
        size = 0 if kind == MessageType.QUERY else self.outbox.sent_to(self.name(node))
        if parent := self.trace.sent(node, kind, self.name(node), size):
            records = RecordDict({**records, "trace": ConfigRecord({"traceparent": parent})})
        return Message(content=records, dst_node_id=node, message_type=kind, ttl=ttl)

    def without(self, node: int, reason: str, *, gone: bool = True, site: str = "") -> None:
        """Note that the round goes on without a site that is gone, or whose reply is refused."""
        site, reason = site or self.name(node), one_line(reason)
        (self.federation.lose if gone else self.federation.reject)(site, reason)
        what = "lost" if gone else "rejected"
        self.trace.failed(node, what)
        self.run.event(what, round=self.round, site=site, reason=reason)

    def later(self, node: int, reason: str, claimed: str = "") -> None:
        """Note that a site does not take part now; it is asked again at the next roll call."""
        site = self._names.get(node) or claimed or self.name(node)
        if any(name == site and other != node for other, name in self._names.items()):
            site = f"{site} (node {node})"
        self._not_now = True
        self._facts.pop(node, None)
        self.federation.later(site, reason)
        self.trace.failed(node, "later")
        self.run.event("later", round=self.round, site=site, reason=one_line(reason))

    def unusable(self, node: int, error: Exception) -> None:
        """Note that the round goes on without a reply that nobody foresaw."""
        log(ERROR, "reply of %s could not be used", self.name(node), exc_info=True)
        reason = f"a reply that cannot be used ({type(error).__name__}: {error})"
        self.without(node, reason, gone=False)

    def went_or_came(self, node: int, what: str, reason: str) -> None:
        """A node went away in the middle of its work, or is back and is asked again."""
        site, reason = self.name(node), one_line(reason)
        if what == "gone":
            patience = f"waiting {self.config.rejoin_seconds:g} s for it to come back"
            log(WARNING, "%s went away (%s), %s", site, reason, patience)
        else:
            log(INFO, "%s is back and is asked again", site)
        self.run.event(what, round=self.round, site=site, reason=reason)
