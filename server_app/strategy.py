"""FedPatchCore as a Flower Strategy: the rounds; decisions are `Federation`'s."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import FedPatchCoreError, NotNow, RunError
from fedpatchcore.metrics.verdicts import Verdict, total
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.runs import events
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.late import note_late
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.server.secure_figures import secure_sums
from fedpatchcore.server.summary import summary
from fedpatchcore.server.turns import closing
from fedpatchcore.server.waiting import Late
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.evaluate import unpack_evaluate
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.train import unpack_train
from server_app.attendance import Attendance
from server_app.exchanges import Exchanges
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, lacks_bank, packet_of

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
        chosen: nodes that train in the round.
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
        self.chosen: list[int] = []
        self.sent_sections: dict[int, tuple[str, ...]] = {}
        self.grid: StreamingGrid | None = None
        self._sent_at = 0.0
        self.outbox = Outbox(config, federation, run)
        self.nodes = Attendance(config, federation, run, self.outbox, self.trace)

    def summary(self) -> None:
        """Log the settings that decide the bank."""
        for level, line in summary(self.config, self.run.path.resolve()):
            log(level, "\t├── %s", line)

    # -- train ----------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Wait (bounded), call the roll of nodes not yet known, send everyone the bank."""
        self.begin(grid)
        grid.round = self.nodes.round = server_round + self.done
        self.trace.begin_round(self.nodes.round)
        online = self.nodes.gathered(grid)
        named = {site: node for site, node in self.nodes.here.items() if node not in grid.late}
        chosen = self.federation.choose(named, self.nodes.round)
        self.chosen = [named[site] for site in chosen]
        self.tell_round(list(named), online, chosen=chosen)
        if self.federation.private is not None:  # the codebooks travel, not the bank
            self.outbox.codebooks = pack_codebooks(self.federation.private.codebooks)
        if self.config.masked_sums:
            return []  # `aggregate_train` asks, one exchange after the other
        grid.takes_late = True
        story = self.federation.story
        grid.enough = closing(self.config, lambda: story.present.intersection(chosen), chosen)
        return self.messages(MessageType.TRAIN, server_round, self.chosen)

    def begin(self, grid: StreamingGrid) -> None:
        """Who carries messages. Raises EnoughError if no further ones are worth it."""
        if told := self.federation.method.enough:
            raise EnoughError(told)
        self.grid = grid
        grid.tell, grid.instead = self.nodes.went_or_came, self.full_instead
        grid.takes_late, grid.enough = False, lambda: False

    def tell_round(self, sites: list[str], online: int, **more: Any) -> None:
        """The event of a round that begins."""
        facts = {"number": self.nodes.round, "of": self.config.num_rounds, "sites": sites}
        facts |= {"online": online, "wanted": self.nodes.wanted, "bytes": self._bank_bytes}
        self.run.event("round", **facts | more)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take replies in as they come, then make the bank of this round."""
        number = server_round + self.done

        def take(packet: Packet, node: int, seconds: float, late: Late | None) -> Facts:
            reply, more = unpack_train(packet), {}
            self.nodes.same_site(reply.site, self.nodes.name(node))
            if late:
                more = {"late_from": late.round, "covered": self.sent_sections.pop(node)}
            self.federation.accept(reply, seconds=seconds, **more)
            more = {"late_from": late.round, "down_bytes": 0} if late else {}
            return self.tell_trained(reply, seconds, **more)

        if not self.config.masked_sums:
            self._collect(replies, take)
            note_late(self)
        self._sum("train", number)
        more = number > self.config.num_rounds
        if more and not self.federation.story.present:
            return None, None  # nothing came late
        self.outbox.codebooks = None
        if not self.make_bank(number, lambda: self.federation.merge(number, quorum=not more)):
            return None, None  # the old one is what this round evaluates
        bank = self.federation.bank
        # no arrays for Flower to keep: it would hold every round's bank beside the current one
        return None, MetricRecord({"rows": len(bank), "bytes": bank.nbytes})

    def make_bank(self, number: int, make: Callable[[], MemoryBank | None]) -> bool:
        """The bank of a round, which sites see from now on; whether there is a new one."""
        started = time.perf_counter()
        if make() is None:
            return False
        self.outbox.publish()
        bank = self.federation.bank
        seconds = time.perf_counter() - started
        log(INFO, "bank of round %s: %s rows in %.1f s", number, len(bank), seconds)
        facts = {"rows": len(bank), "bytes": bank.nbytes, "seconds": seconds}
        self.run.event("merged", round=number, **facts)
        return True

    def _sum(self, phase: str, number: int) -> None:
        """The secure sums of a phase, each told as one event."""
        names = [self.nodes.name(node) for node in self.chosen]
        for talk in secure_sums(self.federation, self.run.identity, number, phase, names):
            timeout = self.config.round_timeout
            carried = Exchanges(self.nodes, self.outbox, self.trace, timeout=timeout)
            told = carried.run(talk, self.nodes.here.values(), self.grid)
            self.run.event("summed", round=number, **told)
            for reply, seconds in talk.accepted.values():
                self.tell_trained(reply, seconds)
            self.outbox.end()

    def tell_trained(self, reply: TrainReply, seconds: float, **more: int) -> Facts:
        """The event of a reply that counts; its facts."""
        facts = {"round_trip_seconds": seconds, **events.trained(reply)}
        facts |= {"down_bytes": self.outbox.sent_to(reply.site), **more}
        self.run.event("trained", round=self.nodes.round, site=reply.site, **facts)
        return facts

    # -- evaluate -------------------------------------------------------------------

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the bank to those who judge by it: all who are here, or who were chosen."""
        grid, last = self.grid, server_round + self.done >= self.config.num_rounds
        every = last or self.config.judged_by == "all"
        judges = [n for n in self.nodes.here.values() if every or n in self.chosen]
        judges = [node for node in judges if node not in grid.late]
        grid.takes_late, grid.enough = False, lambda: False
        if not last or any(one.trains for one in grid.late.values()):
            grid.enough = closing(self.config, lambda: self.federation.story.evaluated, judges)
        return self.messages(MessageType.EVALUATE, server_round, judges)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Collect thresholds and metrics; the round is complete and is saved."""
        aurocs: list[float] = []
        verdicts: list[Verdict | None] = []
        number = server_round + self.done

        def take(packet: Packet, node: int, seconds: float, late: Late | None) -> Facts:
            reply, site = unpack_evaluate(packet), self.nodes.name(node)
            self.nodes.same_site(reply.site, site)
            self.federation.evaluated(reply)
            aurocs.extend(r.image_auroc for r in reply.results if r.image_auroc == r.image_auroc)
            facts = {"round_trip_seconds": seconds, **events.evaluated(reply)}
            verdicts.append(events.decided(facts))
            facts["down_bytes"] = self.outbox.sent_to(site)
            self.run.event("evaluated", round=number, site=site, **facts)
            return facts

        self._collect(replies, take)
        self._sum("evaluate", number)
        self.close(number)
        self.trace.end_round(rows=len(self.federation.bank), bytes=self._bank_bytes)
        every = total(verdicts)
        told = {"defects-found": every.found.share, "good-stopped": every.stopped.share}
        told["image-auroc"] = sum(aurocs) / len(aurocs) if aurocs else math.nan
        known = {name: value for name, value in told.items() if math.isfinite(value)}
        return MetricRecord(known) if known else None

    def close(self, number: int) -> None:
        """A round is complete: its record and its checkpoint."""
        record = self.federation.close(number, open_sums=bool(self.grid.late))
        record["bytes_down"] = self.federation.bank.nbytes
        record["wire"] = self.outbox.facts()
        started = time.perf_counter()
        self.run.checkpoint(number, self.federation)
        self.run.event("checkpoint", round=number, seconds=time.perf_counter() - started)

    # -- messages -------------------------------------------------------------------

    @property
    def _bank_bytes(self) -> int:
        return self.federation.bank.nbytes if self.federation.bank is not None else 0

    def messages(self, kind: str, server_round: int, nodes: Iterable[int]) -> list[Message]:
        self._sent_at = time.monotonic()
        self.outbox.begin(kind, server_round + self.done)
        return [self.message(kind, node) for node in nodes]

    def message(self, kind: str, node: int) -> Message:
        """What a node is sent now."""
        records = self.outbox.records(node, self.nodes.name(node))
        return self.nodes.message(node, kind, records, ttl=self.config.round_timeout)

    def full_instead(self, node: int, reply: Message) -> RecordDict | None:
        """The whole bank for a site that has lost what its message built on; once a phase."""
        site = self.nodes.name(node)
        sent = self.outbox.sent_to(site)
        if not lacks_bank(reply) or (records := self.outbox.full(node, site)) is None:
            return None
        log(INFO, "%s does not hold the last bank (any longer): the whole one is sent", site)
        more = self.outbox.sent_to(site) - sent
        self.run.event("resent", round=self.nodes.round, site=site, bytes=more)
        return records

    def _collect(
        self, replies: Iterable[Message], take: Callable[[Packet, int, float, Late | None], Facts]
    ) -> None:
        """Feed each good reply to ``take``; a bad one is rejected by name, a missing one lost."""
        for reply in replies:
            node, late = self.grid.node_of(reply), self.grid.late_of(reply)
            if late and not late.trains:
                continue  # verdicts by a bank of before: of no use but that the site is free again
            try:
                packet = packet_of(reply)
                self.outbox.heard(node, packet)
                seconds = time.monotonic() - (late.sent if late else self._sent_at)
                facts = take(packet, node, seconds, late)
                self.trace.answered(node, self.nodes.name(node), facts)
            except RunError:
                raise  # our own disk, not the site
            except NotNow as error:
                self.nodes.later(node, str(error))
            except FedPatchCoreError as error:
                self.nodes.without(node, str(error), gone=is_gone(reply))
            except Exception as error:
                self.nodes.unusable(node, error)
            del reply  # before the next one is pulled: it may hold a coreset
        self.outbox.end()
        for node in self.grid.unanswered:
            reason = f"no reply within round-timeout ({self.config.round_timeout:g} s)"
            self.nodes.without(node, reason)
