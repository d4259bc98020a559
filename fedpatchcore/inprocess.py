"""The whole federation in one process, by library calls: for notebooks, tests and experiments.

The same `Site` and `Federation` that Flower drives, without the network between them; equal
settings and images give the same bank, bit for bit.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Mapping, Sequence

from fedpatchcore.errors import ConfigError, FedPatchCoreError, QuorumError
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.flow import Flow
from fedpatchcore.server.secure_figures import secure_sums
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.secure import secure_reply
from fedpatchcore.site.secure_figures import keep_figures
from fedpatchcore.site.secure_updates import keep_updates
from fedpatchcore.site.site import Site
from fedpatchcore.site.withholding import withheld
from fedpatchcore.wire.basis import basis_of
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.sums import unpack_question
from fedpatchcore.wire.train import unpack_train

__all__ = ["federate"]


def federate(
    sites: Sequence[Site],
    *,
    rounds: int = 1,
    evaluate: bool = True,
    federation: Federation | None = None,
    pace: Mapping[str, float] | None = None,
    run: str = "",
) -> Federation:
    """Run ``rounds`` rounds over ``sites``; returns the federation with its bank and history.

    With an optimiser that has no rounds (fedasync, fedbuff) the model moves so many times, sites
    work side by side by a clock that is only counted, and thresholds are set by the last bank.

    Args:
        evaluate: set thresholds and measure after each round.
        federation: go on with this one instead of a new one; needed for noisy sums, whose
            federation is made with a codebook.
        pace: without rounds: time that a site takes to answer, in any unit; 1 where nothing is
            said. Of equal times those come first that were asked first.

        run: the name under which sites keep what is of this run; of secure sums by default one
            of this call's own.

    Raises:
        ConfigError: no sites.
        QuorumError: fewer usable sites than ``min-sites``.
    """
    if not sites:
        raise ConfigError("a federation needs at least one site")
    config = sites[0].config
    federation = federation or Federation(config, device=str(sites[0].backbone.device))
    broadcast = Broadcast(config.wire, seed=config.seed, deltas=config.wire != "float32")
    if config.secure_sums or config.secure_figures:  # whose terms are of one run and no other
        run = run or f"in-process-{secrets.token_hex(8)}"
    if federation.bank is not None:
        broadcast.adopt(federation.bank)
    if config.flows:
        _flow(sites, federation, broadcast, rounds, evaluate, pace or {}, run)
        return federation
    done = len(federation.history)
    for number in range(done + 1, done + rounds + 1):
        if federation.method.enough:
            break
        taking_part = _present(sites, federation)
        drawn = federation.choose([site.name for site in taking_part], number)
        training = [site for site in taking_part if site.name in drawn]
        for site in training if not config.masked_sums else ():
            try:
                federation.accept(_trained(site, federation, run, number))
            except FedPatchCoreError as error:
                federation.reject(site.name, str(error))
        _summed(training, federation, number, run, "train")
        bank = federation.merge(number)
        if bank is not None:
            federation.bank = bank = broadcast.publish(bank)
        if evaluate and bank is not None:
            every = config.judged_by == "all" or number == done + rounds
            judges = taking_part if every else [s for s in taking_part if s.name in drawn]
            _evaluate(judges, federation, run)
        federation.close(number)
    return federation


def _present(sites: Sequence[Site], federation: Federation) -> list[Site]:
    """The sites that the roll call admits."""
    answers, refused = {}, {}
    for at, site in enumerate(sites):
        try:
            answers[str(at)] = site.facts()
        except FedPatchCoreError as error:
            refused[str(at)] = str(error)
    refused |= federation.roll_call(answers)
    for at, site in enumerate(sites):
        if reason := refused.get(str(at)):
            federation.reject(site.name, reason)
    return [site for at, site in enumerate(sites) if str(at) not in refused]


def _summed(
    sites: Sequence[Site], federation: Federation, number: int, run: str, phase: str
) -> None:
    """A phase's secure sums; who gives no answer that fits is left out by name."""
    by_name = {site.name: site for site in sites}
    for secure in secure_sums(federation, run, number, phase, sorted(by_name)):
        while secure.exchange:
            for name in secure.asked:
                try:
                    question = unpack_question(secure.question(name))
                    reply = secure_reply(by_name[name], question, run=run, number=number)
                    secure.take(pack(reply), name)
                except FedPatchCoreError as error:
                    secure.half.left.setdefault(name, str(error))
                    federation.reject(name, str(error))
            secure.close()
        secure.finish()


def _trained(site: Site, federation: Federation, run: str = "", number: int = 0) -> TrainReply:
    """A site's answer to the bank of now, as it comes over the wire."""
    config = federation.config
    codebooks = federation.private.codebooks if federation.private else None
    beside = federation.method.beside()
    words = {"run": run, "number": number}
    reply = site.train(federation.bank, codebooks=codebooks, beside=beside, **words)
    if config.secure_sums:
        basis = basis_of(site.asked, federation.bank, beside)
        reply = keep_updates(site, reply, **words, basis=basis)
    if config.wire != "float32":
        reply = unpack_train(pack(reply, wire=config.wire, seed=config.seed))
    return reply


def _evaluate(sites: Sequence[Site], federation: Federation, run: str) -> None:
    config, number = federation.config, federation.bank.round
    for site in sites:
        try:
            reply, scored = evaluate_site(site, federation.bank)
            if config.secure_figures:
                words = {"run": run, "number": number}
                words["basis"] = basis_of(site.asked, federation.bank)
                reply = keep_figures(site, reply, scored, **words)
            elif config.dp != "off":
                reply = withheld(reply, config)
            federation.evaluated(reply)
        except FedPatchCoreError as error:
            federation.reject(site.name, str(error))
    _summed(sites, federation, number, run, "evaluate")


def _flow(
    sites: Sequence[Site],
    federation: Federation,
    broadcast: Broadcast,
    rounds: int,
    evaluate: bool,
    pace: Mapping[str, float],
    run: str,
) -> None:
    flow, now, asked = Flow(federation), 0.0, 0
    taking_part = {site.name: site for site in _present(sites, federation)}
    flow.joined(taking_part)
    last = flow.version + rounds
    coming: list[tuple[float, int, str, TrainReply | str]] = []
    while flow.version < last and not flow.over:
        for name in flow.due():
            flow.ask(name)
            try:
                reply = _trained(taking_part[name], federation)
            except FedPatchCoreError as error:
                reply = str(error)
            heapq.heappush(coming, (now + pace.get(name, 1.0), asked, name, reply))
            asked += 1
        if not coming:
            raise QuorumError(federation.story.quorum(federation.config.min_sites))
        now, _, name, reply = heapq.heappop(coming)
        try:
            if isinstance(reply, str):
                raise ConfigError(reply)
            due = flow.answered(reply, seconds=now)
        except FedPatchCoreError as error:
            federation.reject(name, str(error))
            flow.failed(name)
            continue
        if due:
            federation.bank = broadcast.publish(flow.made())
            if evaluate and (flow.version == last or flow.over):
                _evaluate(list(taking_part.values()), federation, run)
            federation.close(flow.version)
