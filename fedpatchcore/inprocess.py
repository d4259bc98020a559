"""The whole federation in one process, by library calls: for notebooks, tests and experiments.

The same `Site` and `Federation` that Flower drives, without the network between them; equal
settings and images give the same bank, bit for bit.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_round import SecureRound
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.secure import secure_reply
from fedpatchcore.site.site import Site
from fedpatchcore.site.withholding import withheld
from fedpatchcore.wire.delta import Broadcast
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
    run: str = "",
) -> Federation:
    """Run ``rounds`` rounds over ``sites``; returns the federation with its bank and history.

    Args:
        evaluate: set thresholds and measure after each round.
        federation: go on with this one instead of a new one; needed for noisy sums, whose
            federation is made with a codebook.
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
    private = config.dp != "off"
    if config.secure_sums:  # whose terms are of one run and no other
        run = run or f"in-process-{secrets.token_hex(8)}"
    broadcast = Broadcast(config.wire, seed=config.seed, deltas=config.wire != "float32")
    if federation.bank is not None:
        broadcast.adopt(federation.bank)
    done = len(federation.history)
    for number in range(done + 1, done + rounds + 1):
        if federation.method.enough:
            break
        answers, refused = {}, {}
        for at, site in enumerate(sites):
            try:
                answers[str(at)] = site.facts()
            except FedPatchCoreError as error:
                refused[str(at)] = str(error)
        refused |= federation.roll_call(answers)
        taking_part = []
        for at, site in enumerate(sites):
            if reason := refused.get(str(at)):
                federation.reject(site.name, reason)
            else:
                taking_part.append(site)
        drawn = federation.choose([site.name for site in taking_part], number)
        training = [site for site in taking_part if site.name in drawn]
        if config.secure_sums:
            _summed(training, federation, number, run)
        else:
            _trained(training, federation, run)
        bank = federation.merge(number)
        if bank is not None:
            federation.bank = bank = broadcast.publish(bank)
        if evaluate and bank is not None:
            last = number == done + rounds
            every = config.judged_by == "all" or last
            for site in taking_part if every else [s for s in taking_part if s.name in drawn]:
                try:
                    reply, _ = evaluate_site(site, bank)
                    federation.evaluated(withheld(reply, config) if private else reply)
                except FedPatchCoreError as error:
                    federation.reject(site.name, str(error))
        federation.close(number)
    return federation


def _trained(sites: Sequence[Site], federation: Federation, run: str) -> None:
    """Each site's answer to the train message of a round."""
    config = federation.config
    for site in sites:
        try:
            codebooks = federation.private.codebooks if federation.private else None
            beside = federation.method.beside()
            reply = site.train(federation.bank, codebooks=codebooks, beside=beside, run=run)
            if config.wire != "float32":
                reply = unpack_train(pack(reply, wire=config.wire, seed=config.seed))
            federation.accept(reply)
        except FedPatchCoreError as error:
            federation.reject(site.name, str(error))


def _summed(sites: Sequence[Site], federation: Federation, number: int, run: str) -> None:
    """The exchanges of a round's secure sum; who gives no answer that fits is left out by name."""
    by_name = {site.name: site for site in sites}
    secure = SecureRound(federation, run, number, sorted(by_name))
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
    federation.story.summed(secure.finish())
