"""FedPatchCore as a Flower Strategy: messages in and out; decisions are `Federation`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from logging import ERROR, INFO, WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from client_app.records import to_records
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import FedPatchCoreError, QuorumError, RunError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.runs import events
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.messages import SiteFacts
from fedpatchcore.wire.packet import Packet, unpack_evaluate, unpack_facts, unpack_train
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, lacks_bank, packet_of

__all__ = ["FedPatchCore"]

ROLL_CALL_SECONDS = 180.0

Facts = dict[str, Any]


class FedPatchCore(Strategy):
    """Federated memory bank.

    Args:
        federation: what is known of sites and bank; holds the settings' meaning.
        run: the folder checkpoints and events go to.
        done: rounds already complete when a run is resumed.
        trace: spans of the run; none are made without it.
    """

    def __init__(
        self,
        config: RunConfig,
        federation: Federation,
        run: RunFolder,
        *,
        done: int = 0,
        trace: RunTrace | None = None,
    ) -> None:
        self.config = config
        self.federation = federation
        self.run = run
        self.done = done
        self.trace = trace or RunTrace()
        self._names: dict[int, str] = {}
        self._facts: dict[int, SiteFacts] = {}
        self._asked: list[int] = []
        self._grid: StreamingGrid | None = None
        self._sent_at = 0.0
        self._round = done
        self._outbox = Outbox(config, federation, run)

    def summary(self) -> None:
        """Log the settings that decide the bank."""
        c = self.config
        log(INFO, "\t├── backbone %s, layers %s", c.backbone, c.layers or "(default)")
        log(
            INFO,
            "\t├── aggregation %s, %s rows a section",
            c.effective_aggregation,
            c.global_bank_size,
        )
        if c.dp != "off":
            log(INFO, "\t├── differential privacy: %s, ε %s, δ %s", c.dp, c.dp_epsilon, c.dp_delta)
        if c.attack:
            log(WARNING, "\t├── ATTACK %s by %s of the sites", c.attack, c.malicious_fraction)
        log(INFO, "\t├── at least %s sites, round timeout %s s", c.min_sites, c.round_timeout)
        log(INFO, "\t└── results in %s", self.run.path.resolve())

    # -- train ----------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Wait (bounded), call the roll of nodes not yet known, send everyone the bank."""
        self._grid = grid
        grid.tell, grid.instead = self._went_or_came, self._full_instead
        self._round = server_round + self.done
        online = self._wait(grid)
        self.trace.begin_round(self._round)
        self._asked = self._roll_call(online, grid)
        self.run.event(
            "round",
            number=self._round,
            of=self.config.num_rounds,
            sites=[self._name(node) for node in self._asked],
            online=len(online),
            wanted=self._wanted,
            bytes=self._bank_bytes,
        )
        if self.federation.private is not None:  # the codebooks travel, not the bank
            self._outbox.codebooks = pack_codebooks(self.federation.private.codebooks)
        return self._messages(MessageType.TRAIN, server_round)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take replies in as they come, then make the bank of this round."""
        number = server_round + self.done

        def take(packet: Packet, site: str, seconds: float) -> Facts:
            reply = unpack_train(packet)
            self._same_site(reply.site, site)
            self.federation.accept(reply, seconds=seconds)
            facts = {"round_trip_seconds": seconds, **events.trained(reply)}
            facts["down_bytes"] = self._outbox.sent_to(site)
            self.run.event("trained", round=number, site=site, **facts)
            return facts

        self._collect(replies, take)
        started = time.perf_counter()
        self._outbox.codebooks = None
        bank = self.federation.merge(number)
        if bank is None:  # the old one is what this round evaluates
            return None, None
        self._outbox.publish()
        bank = self.federation.bank
        seconds = time.perf_counter() - started
        log(INFO, "bank of round %s: %s rows in %.1f s", number, len(bank), seconds)
        facts = {"rows": len(bank), "bytes": bank.nbytes, "seconds": seconds}
        self.run.event("merged", round=number, **facts)
        # no arrays for Flower to keep: it would hold every round's bank beside the current one
        return None, MetricRecord({"rows": len(bank), "bytes": bank.nbytes})

    # -- evaluate -------------------------------------------------------------------

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the bank to everyone who took part in this round."""
        return self._messages(MessageType.EVALUATE, server_round)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Collect thresholds and metrics; the round is complete and is saved."""
        aurocs: list[float] = []
        number = server_round + self.done

        def take(packet: Packet, site: str, seconds: float) -> Facts:
            reply = unpack_evaluate(packet)
            self._same_site(reply.site, site)
            self.federation.evaluated(reply)
            aurocs.extend(r.image_auroc for r in reply.results if r.image_auroc == r.image_auroc)
            facts = {"round_trip_seconds": seconds, **events.evaluated(reply)}
            facts["down_bytes"] = self._outbox.sent_to(site)
            self.run.event("evaluated", round=number, site=site, **facts)
            return facts

        self._collect(replies, take)
        record = self.federation.close(number)
        record["bytes_down"] = self.federation.bank.nbytes
        record["wire"] = self._outbox.facts()
        started = time.perf_counter()
        self.run.checkpoint(number, self.federation)
        self.run.event("checkpoint", round=number, seconds=time.perf_counter() - started)
        self.trace.end_round(rows=len(self.federation.bank), bytes=self._bank_bytes)
        return MetricRecord({"image-auroc": sum(aurocs) / len(aurocs)}) if aurocs else None

    # -- nodes ----------------------------------------------------------------------

    @property
    def _wanted(self) -> int:
        return self.config.expected_sites or self.config.min_sites

    def _wait(self, grid: Grid) -> list[int]:
        """Online nodes, once enough of them are there; QuorumError when the wait is over."""
        wanted = self._wanted
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

    def _roll_call(self, online: list[int], grid: Grid) -> list[int]:
        """Ask new nodes who they are; returns the nodes that take part in this round."""
        self._facts = {node: facts for node, facts in self._facts.items() if node in online}
        new = [node for node in online if node not in self._facts]
        content = to_records(Packet())
        timeout = min(self.config.round_timeout, ROLL_CALL_SECONDS)
        asked = [self._message(node, MessageType.QUERY, content, ttl=timeout) for node in new]
        for reply in grid.send_and_receive(asked, timeout=timeout):
            node = grid.node_of(reply)
            try:
                packet = packet_of(reply)
                facts = unpack_facts(packet)
                self._same_node(node, facts.site)
                self._facts[node] = facts
                self._outbox.heard(node, packet)
            except FedPatchCoreError as error:
                self._without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self._unusable(node, error)
            else:
                self.trace.answered(node, self._facts[node].site, {})
        for node in grid.unanswered if new else []:
            self._without(node, f"no answer to the roll call in {timeout:g} s")
        refused = self.federation.roll_call({str(n): f for n, f in self._facts.items()})
        for node, reason in refused.items():
            facts = self._facts.pop(int(node))
            self._without(int(node), reason, gone=False, site=f"{facts.site} (node {node})")
        for node, facts in self._facts.items():
            self._names[node] = facts.site
            if node in new:
                images, made = sum(facts.train_images), ", ".join(facts.products)
                log(INFO, "site %s: %s (%s images) on %s", facts.site, made, images, facts.device)
                self.run.event(
                    "site",
                    site=facts.site,
                    products=facts.products,
                    images=images,
                    device=facts.device,
                )
        return sorted(self._facts, key=lambda node: self._facts[node].site)

    def _name(self, node: int) -> str:
        return self._names.get(node, f"node {node}")

    @staticmethod
    def _same_site(said: str, expected: str) -> None:
        if said != expected:
            raise QuorumError(f"the node of site '{expected}' now calls itself '{said}'")

    def _same_node(self, node: int, site: str) -> None:
        """A node keeps its name: under another it would count twice, with the rows it left.

        Where sites vote, a name keeps its node as well. (A registered key keeps its node id; one
        that nobody registered gets another at every start.)
        """
        self._same_site(site, self._names.get(node, site))
        taken = any(name == site and other != node for other, name in self._names.items())
        if taken and self.config.robustness_enabled:
            raise QuorumError(
                f"another node was site '{site}' before: with robustness-enabled a site keeps its "
                "node, so register its key ('flwr supernode register')"
            )

    # -- messages -------------------------------------------------------------------

    @property
    def _bank_bytes(self) -> int:
        return self.federation.bank.nbytes if self.federation.bank is not None else 0

    def _messages(self, kind: str, server_round: int) -> list[Message]:
        self._sent_at = time.monotonic()
        self._outbox.begin(kind, server_round + self.done)
        ttl, messages = self.config.round_timeout, []
        for node in self._asked:
            records = self._outbox.records(node, self._name(node))
            messages.append(self._message(node, kind, records, ttl=ttl))
        return messages

    def _full_instead(self, node: int, reply: Message) -> RecordDict | None:
        """The whole bank for a site that has lost what its message built on; once a phase."""
        site = self._name(node)
        sent = self._outbox.sent_to(site)
        if not lacks_bank(reply) or (records := self._outbox.full(node, site)) is None:
            return None
        log(INFO, "%s does not hold the last bank (any longer): the whole one is sent", site)
        more = self._outbox.sent_to(site) - sent
        self.run.event("resent", round=self._round, site=site, bytes=more)
        return records

    def _message(self, node: int, kind: str, records: RecordDict, *, ttl: float) -> Message:
        """A message of shared records; a trace adds one small record of this message's own."""
        size = 0 if kind == MessageType.QUERY else self._outbox.sent_to(self._name(node))
        if parent := self.trace.sent(node, kind, self._name(node), size):
            records = RecordDict({**records, "trace": ConfigRecord({"traceparent": parent})})
        return Message(content=records, dst_node_id=node, message_type=kind, ttl=ttl)

    def _collect(
        self, replies: Iterable[Message], take: Callable[[Packet, str, float], Facts]
    ) -> None:
        """Feed each good reply to ``take``; a bad one is rejected by name, a missing one lost."""
        for reply in replies:
            node = self._grid.node_of(reply)
            site = self._name(node)
            try:
                packet = packet_of(reply)
                self._outbox.heard(node, packet)
                facts = take(packet, site, time.monotonic() - self._sent_at)
                self.trace.answered(node, site, facts)
            except RunError:
                raise  # our own disk, not the site
            except FedPatchCoreError as error:
                self._without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self._unusable(node, error)
            del reply  # before the next one is pulled: it may hold a coreset
        self._outbox.end()
        for node in self._grid.unanswered:
            reason = f"no reply within round-timeout ({self.config.round_timeout:g} s)"
            self._without(node, reason)

    def _unusable(self, node: int, error: Exception) -> None:
        log(ERROR, "reply of %s could not be used", self._name(node), exc_info=True)
        reason = f"a reply that cannot be used ({type(error).__name__}: {error})"
        self._without(node, reason, gone=False)

    def _without(self, node: int, reason: str, *, gone: bool = True, site: str = "") -> None:
        """Note that the round goes on without a site that is gone, or whose reply is refused."""
        site = site or self._name(node)
        (self.federation.lose if gone else self.federation.reject)(site, reason)
        what = "lost" if gone else "rejected"
        self.trace.failed(node, what)
        self.run.event(what, round=self._round, site=site, reason=reason)

    def _went_or_came(self, node: int, what: str, reason: str) -> None:
        """A node went away in the middle of its work, or is back and is asked again."""
        site = self._name(node)
        if what == "gone":
            patience = f"waiting {self.config.rejoin_seconds:g} s for it to come back"
            log(WARNING, "%s went away (%s), %s", site, reason, patience)
        else:
            log(INFO, "%s is back and is asked again", site)
        self.run.event(what, round=self._round, site=site, reason=reason)
