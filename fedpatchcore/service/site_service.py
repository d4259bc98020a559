"""A site's work, done in this process: facts, a coreset, verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import BankError, ConfigError, FedPatchCoreError
from fedpatchcore.features.warm import Warm
from fedpatchcore.files import for_owner_alone, private_folder
from fedpatchcore.observe.message import Handling, handling
from fedpatchcore.service.last_evaluation import LastEvaluation
from fedpatchcore.service.request import Request
from fedpatchcore.site.eligible import require_now
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.measuring import Scored
from fedpatchcore.site.own_bank import keep_own_bank
from fedpatchcore.site.rehearsal import rehearse_attack
from fedpatchcore.site.secure_figures import keep_figures
from fedpatchcore.site.secure_updates import keep_updates
from fedpatchcore.site.setup import open_site, use_threads
from fedpatchcore.site.site import Site
from fedpatchcore.site.withholding import discreet, keep_private, withheld
from fedpatchcore.spelling import after_c, spelled
from fedpatchcore.timing.phases import Watcher
from fedpatchcore.wire.basis import basis_of
from fedpatchcore.wire.beside import without_beside
from fedpatchcore.wire.codebooks import unpack_codebooks
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.messages import EvaluateReply, SiteFacts, TrainReply
from fedpatchcore.wire.packet import Packet, pack_failure
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.sums import SumsReply, unpack_question
from fedpatchcore.wire.tuning import TuneReply, unpack_tune_question

__all__ = ["HouseRules", "SiteService"]

MESSAGE = {"facts": "query"}  # what Flower, logs and metrics call it


class HouseRules(Protocol):
    """What a site does not do, whatever a run asks for; all raise to refuse.

    ``before`` gives the settings that the work is done with, ``keeps`` those of a candidate.
    """

    def before(self, request: Request, config: RunConfig) -> RunConfig: ...

    def keeps(self, config: RunConfig) -> RunConfig: ...

    def after(self, reply: object) -> None: ...


class SiteService:
    """Answers a site's requests, one at a time.

    Args:
        node: what the site says of itself.
        name: what it is called until its own name is known.
        log: takes the lines for a person at this site.
        rules: the site's own words; asked before anything is opened and before anything leaves.
        warm: what is kept in memory between requests; also the last evaluation is, then.
        later: takes work that an answer need not wait for; by default it is done at once.
    """

    def __init__(
        self,
        node: NodeConfig,
        *,
        name: str,
        log: logging.Logger,
        rules: HouseRules | None = None,
        warm: Warm | None = None,
        later: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        self.node = node
        self.name = name
        self._log = log
        self._rules = rules
        self._warm = warm
        self._later = later
        self._evaluated = LastEvaluation()

    def answer(self, request: Request, *watchers: Watcher) -> Packet:
        """Do the work; whatever goes wrong becomes a packet that says so, with the site's name.

        Args:
            watchers: told of each phase of the work.
        """
        with (
            for_owner_alone(),
            handling(
                MESSAGE.get(request.verb, request.verb),
                *watchers,
                site=self.node.site or self.name,
                run=request.run,
                number=request.round,
                traceparent=request.traceparent,
                stays=self._warm is not None,
            ) as told,
            spelled(after_c),
        ):
            return self._packet(request, told)

    def _packet(self, request: Request, told: Handling) -> Packet:
        private = self.node.dp_required or self.node.dp_budget_epsilon > 0
        try:
            asked = config = RunConfig.parse(request.settings, where="run-config")
            private = private or config.dp != "off"
            told.withheld = private or config.secure_figures
            require_now(self.node, request.verb)
            if self._rules:
                config = self._kept(told.site, config, self._rules.before(request, config))
            use_threads(config.threads)
            site = open_site(
                config,
                self.node,
                run_folder=Path(request.run_folder) if request.run_folder else None,
                warm=self._warm,
                say=lambda line: self._log.info("[%s] %s", told.site, line),
                asked=asked,
            )
            told.named(site.name)
            reply = self._work(site, request)
            if self._rules:
                self._rules.after(reply)
            packet = pack(reply, wire=config.wire, seed=config.seed)
            if holds := _held(site).digest:
                packet.texts["holds"] = holds
            told.answered(reply)
        except Exception as error:
            traced = not isinstance(error, FedPatchCoreError)
            self._log.error("[%s] %s", told.site, error, exc_info=traced)
            told.failed(error)
            packet = pack_failure(told.site, discreet(error) if private else error)
        return packet

    def _kept(self, here: str, asked: RunConfig, given: RunConfig) -> RunConfig:
        """The settings that the site keeps to; a line for each that it cut down."""
        for key, value in given.table().items():
            if value != (wanted := asked.table()[key]):
                self._log.info("[%s] %s=%s: this site gives %s", here, key, wanted, value)
        return given

    def _work(
        self, site: Site, request: Request
    ) -> SiteFacts | TrainReply | SumsReply | EvaluateReply | TuneReply:
        if request.verb == "facts":
            return site.facts()
        if request.verb == "train":
            return self._train(site, request)
        if request.verb == "sums":
            from fedpatchcore.site.secure import secure_reply

            question = unpack_question(request.packet)
            return secure_reply(site, question, run=request.run_name, number=request.round)
        if request.verb == "tune":
            return self._tune(site, request)
        return self._evaluate(site, request)

    def _tune(self, site: Site, request: Request) -> TuneReply:
        """Try candidates on this site's images; figures alone leave."""
        from fedpatchcore.site.tuning import tune_reply

        def keep(config: RunConfig) -> RunConfig:
            told = {"device": self.node.device} if self.node.device else {}
            if config.backbone == site.config.backbone and self.node.weights:
                told["weights"] = self.node.weights
            kept = self._rules.keeps(config) if self._rules else config
            return kept.model_copy(update=told)

        question = unpack_tune_question(request.packet)
        return tune_reply(site, question, run=request.run_name, keep=keep)

    def _train(self, site: Site, request: Request) -> TrainReply:
        codebooks = unpack_codebooks(request.packet)
        packet, beside = without_beside(request.packet)
        bank = _held(site).receive(packet)
        words = {"run": request.run_name, "number": request.round}
        reply = site.train(bank, codebooks=codebooks, beside=beside, **words)
        if site.config.secure_sums:
            reply = keep_updates(site, reply, **words, basis=basis_of(site.asked, bank, beside))
        if site.config.attack:
            reply = rehearse_attack(site, reply, self.node.num_partitions)
        return reply

    def _evaluate(self, site: Site, request: Request) -> EvaluateReply:
        """Score this site's images with the global bank; pictures stay here."""
        bank = _held(site).receive(request.packet)
        if bank is None:
            raise BankError("the message asks for verdicts and brings no bank")
        if self._warm is None or site.config.secure_figures:  # whose numbers are a round's own
            return self._evaluated_anew(site, bank, request)
        return self._evaluated.of(
            site, bank, request, lambda: self._evaluated_anew(site, bank, request)
        )

    def _evaluated_anew(self, site: Site, bank: MemoryBank, request: Request) -> EvaluateReply:
        folder = _results_folder(site, request.run_folder)
        reply, scored = evaluate_site(site, bank, run=request.run_name)
        keep_own_bank(site, bank, reply, folder)
        own = reply
        if site.config.dp != "off" or site.config.secure_figures:
            keep_private(site, reply, folder)
            if site.config.secure_figures:
                words = {"run": request.run_name, "number": request.round}
                words["basis"] = basis_of(site.asked, bank)
                reply = keep_figures(site, reply, scored, **words)
            else:
                reply = withheld(reply, site.config)
            if site.simulated and not site.config.secure_figures:
                own = reply  # its pictures are in the run's report
        if site.config.heatmaps:
            self._later(lambda: self._keep_pictures(site, own, scored, folder))
        return reply

    def _keep_pictures(
        self, site: Site, reply: EvaluateReply, scored: Mapping[str, Scored], folder: Path
    ) -> None:
        from fedpatchcore.service.kept_pictures import keep_pictures

        where = folder / "heatmaps"
        try:
            keep_pictures(site, reply, scored, folder)
            self._log.info("[%s] heatmaps in %s", site.name, where)
        except OSError as error:
            self._log.error("%s: heatmaps not written to %s: %s", site.name, where, error.strerror)


def _held(site: Site) -> HeldBank:
    return HeldBank(site.cache, site.name, keep=site.config.deltas, shared=site.simulated)


def _results_folder(site: Site, run_folder: str) -> Path:
    """A virtual site shares the server's disk; a real one keeps its pictures to itself."""
    if Path(run_folder).name in ("", ".", ".."):
        raise ConfigError(f"the server names a folder of results that is none: '{run_folder}'")
    if site.simulated:
        return Path(run_folder) / "sites" / site.name
    folder = site.out / Path(run_folder).name
    with suppress(OSError):  # whoever writes there says so
        private_folder(folder)
    return folder
