"""FedPatchCore as a Flower Strategy: the rounds; decisions are `Federation`'s."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sized
from logging import INFO, WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import FedPatchCoreError, NotNow, RunError
from fedpatchcore.metrics.verdicts import Verdict, total
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.runs import events
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.server.secure_round import SecureRound
from fedpatchcore.server.turns import enough
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.evaluate import unpack_evaluate
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.train import unpack_train
from server_app.attendance import Attendance
from server_app.exchanges import Exchanges
from server_app.grid import StreamingGrid
from server_app.late import note_late
from server_app.outbox import Outbox
from server_app.replies import is_gone, lacks_bank, packet_of
from server_app.waiting import Late

__all__ = ["EnoughError", "FedPatchCore"]

Facts = dict[str, Any]


class EnoughError(Exception):
    """No further round is worth it; the text says why. What was made is complete."""


class FedPatchCore(Strategy):
    """Federated memory bank.

    Args:
        federation: what is known of sites and bank; holds the settings' meaning.
        run: the folder checkpoints and events go to.
        done: rounds already complete when a run is resumed.
        trace: spans of the run; none are made without it.

    Attributes:
        there, chosen: nodes that take part in the round, and those of them that train.
        sent_sections: of the bank that a node was sent whose answer is late.
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
        self.there: list[int] = []
        self.chosen: list[int] = []
        self.sent_sections: dict[int, tuple[str, ...]] = {}
        self.grid: StreamingGrid | None = None
        self._sent_at = 0.0
        self._outbox = Outbox(config, federation, run)
        self.nodes = Attendance(config, federation, run, self._outbox, self.trace)

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
        if told := self.federation.method.enough:
            raise EnoughError(told)
        self.grid = grid
        grid.tell, grid.instead = self.nodes.went_or_came, self._full_instead
        grid.round = self.nodes.round = server_round + self.done
        grid.takes_late, grid.enough = False, lambda: False
        self.trace.begin_round(self.nodes.round)
        self.there = self.nodes.roll_call(grid)
        named = {self.nodes.name(node): node for node in self.there if node not in grid.late}
        chosen = self.federation.choose(named, self.nodes.round)
        self.chosen = [named[site] for site in chosen]
        self.tell_round(sorted(named), chosen)
        if self.federation.private is not None:  # the codebooks travel, not the bank
            self._outbox.codebooks = pack_codebooks(self.federation.private.codebooks)
        if self.config.secure_sums:
            return []  # `aggregate_train` asks, one exchange after the other
        grid.takes_late = True
        self._close_when(lambda: self.federation.story.present.intersection(chosen), chosen)
        return self.messages(MessageType.TRAIN, server_round, self.chosen)

    def _close_when(self, answered: Callable[[], Sized], asked: Sized) -> None:
        """The phase that begins now need not wait once enough of them have answered."""
        began, config = time.monotonic(), self.config
        self.grid.enough = lambda: enough(
            config, len(answered()), len(asked), time.monotonic() - began
        )

    def tell_round(self, sites: list[str], chosen: list[str], *, of: int = 0) -> None:
        self.run.event(
            "round",
            number=self.nodes.round,
            of=of or self.config.num_rounds,
            sites=sites,
            chosen=chosen,
            online=len(self.nodes.online),
            wanted=self.nodes.wanted,
            bytes=self._bank_bytes,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take replies in as they come, then make the bank of this round."""
        number = server_round + self.done

        def take(packet: Packet, site: str, seconds: float, late: Late | None) -> Facts:
            reply = unpack_train(packet)
            self.nodes.same_site(reply.site, site)
            facts = {"round_trip_seconds": seconds, **events.trained(reply)}
            if late is None:
                self.federation.accept(reply, seconds=seconds)
                facts["down_bytes"] = self._outbox.sent_to(site)
            else:
                facts["late_from"], had = late.round, self.sent_sections.pop(late.node)
                self.federation.accept(reply, seconds=seconds, late_from=late.round, covered=had)
            self.run.event("trained", round=number, site=site, **facts)
            return facts

        if self.config.secure_sums:
            self._secure_sum(number)
        else:
            self._collect(replies, take)
            note_late(self)
        if number > self.config.num_rounds and not self.federation.story.present:
            return None, None  # nothing came late
        started = time.perf_counter()
        self._outbox.codebooks = None
        bank = self.federation.merge(number, quorum=number <= self.config.num_rounds)
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

    def _secure_sum(self, number: int) -> None:
        """The round's secure sum, told as one event."""
        sites = [self.nodes.name(node) for node in self.chosen]
        secure = SecureRound(self.federation, self.run.identity, number, sites)
        timeout = self.config.round_timeout
        carried = Exchanges(self.nodes, self._outbox, self.trace, timeout=timeout)
        told = carried.run(secure, self.chosen, self.grid)
        self.federation.story.summed(told)
        self.run.event("summed", round=number, **told)
        for site, (reply, seconds) in secure.accepted.items():
            facts = {"round_trip_seconds": seconds, **events.trained(reply)}
            facts["down_bytes"] = self._outbox.sent_to(site)
            self.run.event("trained", round=number, site=site, **facts)
        self._outbox.end()

    # -- evaluate -------------------------------------------------------------------

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the bank to those who judge by it: all who are there, or who were chosen."""
        grid, last = self.grid, server_round + self.done >= self.config.num_rounds
        every = last or self.config.judged_by == "all"
        judges = self.there if every else [n for n in self.there if n in self.chosen]
        judges = [n for n in judges if n not in grid.late and self.nodes.there(n)]
        grid.takes_late, grid.enough = False, lambda: False
        if not last or any(one.trains for one in grid.late.values()):
            self._close_when(lambda: self.federation.story.evaluated, judges)
        return self.messages(MessageType.EVALUATE, server_round, judges)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Collect thresholds and metrics; the round is complete and is saved."""
        aurocs: list[float] = []
        verdicts: list[Verdict | None] = []
        number = server_round + self.done

        def take(packet: Packet, site: str, seconds: float, late: Late | None) -> Facts:
            reply = unpack_evaluate(packet)
            self.nodes.same_site(reply.site, site)
            self.federation.evaluated(reply)
            aurocs.extend(r.image_auroc for r in reply.results if r.image_auroc == r.image_auroc)
            facts = {"round_trip_seconds": seconds, **events.evaluated(reply)}
            verdicts.append(events.decided(facts))
            facts["down_bytes"] = self._outbox.sent_to(site)
            self.run.event("evaluated", round=number, site=site, **facts)
            return facts

        self._collect(replies, take)
        record = self.federation.close(number, open_sums=bool(self.grid.late))
        record["bytes_down"] = self.federation.bank.nbytes
        record["wire"] = self._outbox.facts()
        started = time.perf_counter()
        self.run.checkpoint(number, self.federation)
        self.run.event("checkpoint", round=number, seconds=time.perf_counter() - started)
        self.trace.end_round(rows=len(self.federation.bank), bytes=self._bank_bytes)
        every = total(verdicts)
        told = {"defects-found": every.found.share, "good-stopped": every.stopped.share}
        told["image-auroc"] = sum(aurocs) / len(aurocs) if aurocs else math.nan
        known = {name: value for name, value in told.items() if math.isfinite(value)}
        return MetricRecord(known) if known else None

    # -- messages -------------------------------------------------------------------

    @property
    def _bank_bytes(self) -> int:
        return self.federation.bank.nbytes if self.federation.bank is not None else 0

    def messages(self, kind: str, server_round: int, nodes: Iterable[int]) -> list[Message]:
        self._sent_at = time.monotonic()
        self._outbox.begin(kind, server_round + self.done)
        ttl, messages = self.config.round_timeout, []
        for node in nodes:
            records = self._outbox.records(node, self.nodes.name(node))
            messages.append(self.nodes.message(node, kind, records, ttl=ttl))
        return messages

    def _full_instead(self, node: int, reply: Message) -> RecordDict | None:
        """The whole bank for a site that has lost what its message built on; once a phase."""
        site = self.nodes.name(node)
        sent = self._outbox.sent_to(site)
        if not lacks_bank(reply) or (records := self._outbox.full(node, site)) is None:
            return None
        log(INFO, "%s does not hold the last bank (any longer): the whole one is sent", site)
        more = self._outbox.sent_to(site) - sent
        self.run.event("resent", round=self.nodes.round, site=site, bytes=more)
        return records

    def _collect(
        self, replies: Iterable[Message], take: Callable[[Packet, str, float, Late | None], Facts]
    ) -> None:
        """Feed each good reply to ``take``; a bad one is rejected by name, a missing one lost."""
        for reply in replies:
            node = self.grid.node_of(reply)
            site, late = self.nodes.name(node), self.grid.late_of(reply)
            if late and not late.trains:
                continue  # verdicts by a bank of before: of no use but that the site is free again
            try:
                packet = packet_of(reply)
                self._outbox.heard(node, packet)
                sent = late.sent if late else self._sent_at
                facts = take(packet, site, time.monotonic() - sent, late)
                self.trace.answered(node, site, facts)
            except RunError:
                raise  # our own disk, not the site
            except NotNow as error:
                self.nodes.later(node, str(error))
            except FedPatchCoreError as error:
                self.nodes.without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self.nodes.unusable(node, error)
            del reply  # before the next one is pulled: it may hold a coreset
        self._outbox.end()
        for node in self.grid.unanswered:
            reason = f"no reply within round-timeout ({self.config.round_timeout:g} s)"
            self.nodes.without(node, reason)
