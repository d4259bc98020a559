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
from fedpatchcore.errors import FedPatchCoreError, QuorumError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.runs.telling import listed
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.names import Key
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION, differ
from fedpatchcore.wire.facts import unpack_facts
from fedpatchcore.wire.messages import SiteFacts
from fedpatchcore.wire.packet import Packet, claimed_name
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, packet_of

__all__ = ["Attendance"]

ROLL_CALL_SECONDS = 180.0


class Attendance:
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
        self.config = config
        self.federation = federation
        self.run = run
        self.outbox = outbox
        self.trace = trace
        self.round = 0
        self._names: dict[int, str] = {}
        self._facts: dict[int, SiteFacts] = {}
        self._keys: dict[int, Key] = {}
        self._registered: dict[str, Key] = {}

    @property
    def wanted(self) -> int:
        """Sites that are waited for."""
        return self.config.expected_sites or self.config.min_sites

    @property
    def here(self) -> dict[str, int]:
        """Nodes that take part, by site, in the order of the sites."""
        return dict(sorted((facts.site, node) for node, facts in self._facts.items()))

    def wait(self, grid: Grid) -> list[int]:
        """Online nodes, once enough of them are there; QuorumError when the wait is over."""
        wanted = self.wanted
        end, told = time.monotonic() + self.config.wait_seconds, 0.0
        while len(online := sorted(grid.get_node_ids())) < wanted:
            if time.monotonic() >= end:
                if len(online) >= self.config.min_sites:
                    log(INFO, "going on with %s of %s expected sites", len(online), wanted)
                    break
                raise QuorumError(
                    f"{len(online)} of {self.config.min_sites} sites online after "
                    f"{self.config.wait_seconds:g} s: start the missing SuperNodes "
                    "('flower-supernode ...'), or lower min-sites, or raise wait-seconds"
                )
            if time.monotonic() - told > 10:
                log(INFO, "waiting for sites: %s of %s online", len(online), wanted)
                self.run.event("waiting", online=len(online), wanted=wanted)
                told = time.monotonic()
            time.sleep(0.5)
        return online

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
        self._look_up(grid)
        content, ttl = to_records(Packet()), self.patience
        new = [node for node in online if node not in self._facts]
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
            if node in new:
                images, made = sum(facts.train_images), listed(facts.products)
                note = ""
                if differ(facts.version):
                    note = f"FedPatchCore {facts.version} there, {VERSION} at the server"
                told = f"{images:,} images" if images else "number of images withheld"
                log(INFO, "site %s: %s (%s) on %s", facts.site, made, told, facts.device)
                self.run.event(
                    "site",
                    site=facts.site,
                    products=facts.products,
                    images=images,
                    device=facts.device,
                    version=facts.version,
                    note=note,
                )
        return sorted(self._facts, key=lambda node: self._facts[node].site)

    def name(self, node: int) -> str:
        """The site that a node called itself."""
        return self._names.get(node, f"node {node}")

    @staticmethod
    def same_site(said: str, expected: str) -> None:
        """Raise QuorumError if a node goes by another name than before."""
        if said != expected:
            raise QuorumError(f"the node of site '{expected}' now calls itself '{said}'")

    def _look_up(self, grid: Grid) -> None:
        """Ask the SuperLink for the keys of the nodes online, and the names they have there."""
        self._keys = grid.keys() if isinstance(grid, StreamingGrid) else {}
        named = {}
        for node, key in self._keys.items():
            if key.name and (key.name not in named or self._names.get(node) == key.name):
                named[key.name] = key
        self._registered = named

    def _hold_to_keys(self) -> None:
        """Turn away nodes whose names are another key's, those of earlier rounds included."""
        for node, facts in list(self._facts.items()):
            try:
                self.federation.names.check(
                    facts.site, self._keys.get(node, Key()), self._registered
                )
            except QuorumError as error:
                del self._facts[node]
                self._names.pop(node, None)
                site = f"{facts.site} (node {node})"
                self.without(node, str(error), gone=False, site=site)

    def _same_node(self, node: int, site: str) -> None:
        """A node keeps its name: under another it would count twice, with the rows it left.

        A name keeps its node as well while that is online, and where sites vote also when it is
        away. (A key keeps its name whatever node it comes as: one that nobody registered is
        another at every start.)
        """
        self.same_site(site, self._names.get(node, site))
        others = [n for n, name in self._names.items() if name == site and n != node]
        if not others or self.federation.names.keeps(site, self._keys.get(node, Key())):
            return
        fix = f"register its key ('flwr supernode register KEY.pub --name {site}')"
        if any(other in self._facts for other in others):
            raise QuorumError(
                f"another node is site '{site}': give this one a site='...' of its own, or {fix}"
            )
        if self.federation.names.strict:
            raise QuorumError(
                f"another node was site '{site}' before: where sites vote a site keeps its node, "
                f"so {fix}"
            )

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
