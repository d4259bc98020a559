"""A run without rounds computed a second time from what its record says of arrivals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.learned.carried import read_carried
from fedpatchcore.learned.generator import WEIGHT, orthogonal
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.methods.arriving import Sent
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of

__all__ = ["arrivals", "replayed"]


def arrivals(rounds: Iterable[Mapping[str, Any]], section: str = "plate") -> list[dict[str, Any]]:
    """The updates of a section in the order in which they counted."""
    return [one for told in rounds for one in told["sections"][section].get("arrivals", ())]


def replayed(
    config: RunConfig, sites: Sequence[Site], order: Sequence[Mapping[str, Any]]
) -> tuple[MemoryBank, np.ndarray]:
    """The last bank, and the generator of ``plate`` by FedBuff written out, without its rule.

    Every site answers in the recorded order, each to the bank that it had; every site must make
    ``plate``. x + 1/Z Σ (1 + late)^−½ change, then brought to its length.
    """
    named = {site.name: site for site in sites}
    federation = Federation(config, rules=rule_of)
    federation.roll_call({site.name: site.facts() for site in sites})
    models, banks = federation.method.models, [None]
    x, waiting = None, []
    for one in order:
        name = one["site"]
        models.arriving.sent[name] = Sent(one["from"], one["turn"])
        turn = {"turn": np.array([one["turn"]], np.float32)}
        reply = named[name].train(banks[one["from"]], beside=turn)
        part = reply.contribution.parts["plate"]
        if x is None:
            dimension = reply.contribution.fingerprint.dimension
            x = orthogonal(dimension, dimension // 2, config.seed)
        update, _ = read_carried(dict(part.beside), name, "float32", {WEIGHT: x})
        waiting.append(update.change[WEIGHT].astype(np.float64) / (1 + one["late"]) ** 0.5)
        federation.accept(reply)
        if models.arrived(reply):
            number = len(banks)
            banks.append(federation.merge(number))
            models.made(number)
            federation.close(number)
        if len(waiting) == config.buffer:
            x = (x + sum(waiting) / config.buffer).astype(np.float32)
            length = np.linalg.norm(x.astype(np.float64))
            x = (x * (x.shape[1] ** 0.5 / length)).astype(np.float32)
            waiting = []
    return banks[-1], x
