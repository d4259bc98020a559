"""The server's half of gradient training: Flower's strategies as arithmetic, behind one `Rule`.

A strategy is fed the sites' changes y − x as replies, and its answer is added to x: all of them are
equivariant under that shift (means, medians, Krum's distances, and the pseudo-gradients of FedAvgM,
FedAdam and FedYogi), and small numbers near 0 keep digits that differences of models lose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.common.logger import FLOWER_LOGGER
from flwr.serverapp import strategy as flower

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update, countable
from fedpatchcore.learned.arrivals import FedAsync, FedBuff
from fedpatchcore.learned.registry import OPTIMISERS
from fedpatchcore.learned.rules import FedNova, Remembered, Rule, Scaffold, in_order
from fedpatchcore.learned.settings import LearnedSettings
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.training_noise import counted_noise, update_multiplier

__all__ = ["FlowerRule", "rule_of"]

# strategies count the replies they were given, once a section and round: no news to anybody
CHATTER = ("%s: Received %s results", "aggregate_fit: ", "aggregate_train: ")
FLOWER_LOGGER.addFilter(lambda record: not str(record.msg).startswith(CHATTER))

PRIVATE = (
    flower.DifferentialPrivacyServerSideFixedClipping,
    flower.DifferentialPrivacyServerSideAdaptiveClipping,
)

ADAPTIVITY = 1e-3  # τ of Reddi et al., 2021, and their β₂
SECOND = 0.99
CLIP = "clipping_norm"  # of adaptive clipping, which moves
KEPT = {"m_t": "m", "v_t": "v"}  # of FedAdam and FedYogi, by name of parameter


def rule_of(
    settings: LearnedSettings, *, sites: int, tolerated: int = 0, weighted: bool = False
) -> Rule:
    """The rule that ``optimiser`` names.

    Args:
        sites: of the federation.
        tolerated: faulty ones that the robust rules must withstand.
        weighted: sites count by their examples instead of equally, where the rule weighs at all.
    """
    rate, limit = settings.server_rate, settings.staleness_limit
    how = {"staleness": settings.staleness, "limit": limit}
    match settings.optimiser:
        case "scaffold":
            return Scaffold(sites=sites, rate=rate)
        case "fednova":
            return FedNova(rate=rate, weighted=weighted)
        case "fedasync":
            return FedAsync(mix=settings.async_mix, **how)
        case "fedbuff":
            return FedBuff(buffer=settings.buffer, rate=rate, **how)
        case name:
            strategy = _strategy(settings)
            if isinstance(settings, PrivacySettings) and settings.seen:
                strategy = _noisy(strategy, settings, settings.num_rounds, sites)
            return FlowerRule(name, strategy, tolerated=tolerated, weighted=weighted)


def _noisy(strategy: flower.FedAvg, settings: PrivacySettings, rounds: int, sites: int):
    """The strategy with noise that hides whole sites (`fedpatchcore.privacy.training_noise`)."""
    sigma, clip = update_multiplier(settings, rounds), settings.dp_clip
    if settings.dp_clipping == "fixed":
        return PRIVATE[0](strategy, sigma, clip, sites)
    count = counted_noise(sigma, sites)
    return PRIVATE[1](strategy, sigma, sites, clip, clipped_count_stddev=count)


def _strategy(settings: LearnedSettings) -> flower.FedAvg:
    rate, keep = settings.server_rate, settings.server_momentum
    adaptive = {"eta": rate, "beta_1": keep, "beta_2": SECOND, "tau": ADAPTIVITY}
    makers: dict[str, tuple[type[flower.FedAvg], dict[str, Any]]] = {
        "fedavg": (flower.FedAvg, {}),
        "fedavgm": (flower.FedAvgM, {"server_learning_rate": rate, "server_momentum": keep}),
        "fedprox": (flower.FedProx, {"proximal_mu": settings.mu}),
        "fedadam": (flower.FedAdam, adaptive),
        "fedyogi": (flower.FedYogi, adaptive),
        "fedmedian": (flower.FedMedian, {}),
        "fedtrimmedavg": (flower.FedTrimmedAvg, {}),
        "krum": (flower.Krum, {}),
    }
    kind, words = makers[settings.optimiser]
    return kind(**words)


@dataclass(frozen=True)
class _Reply:
    """What a strategy looks at of a message; a real one can be made within a Flower task alone."""

    content: RecordDict

    def has_error(self) -> bool:
        return False


class FlowerRule:
    """A strategy of Flower's as a `Rule`; it never meets a grid.

    Raises TrainingError at a step with fewer sites than ``tolerated`` faulty ones need.
    """

    def __init__(
        self, name: str, strategy: flower.FedAvg, *, tolerated: int, weighted: bool
    ) -> None:
        self.optimiser, self.strategy = OPTIMISERS[name], strategy
        self.tolerated, self.weighted = tolerated, weighted

    def step(self, round: int, x: dict[str, np.ndarray], updates: Sequence[Update]) -> dict:
        """See `Rule`; rounds count from 1, which FedAdam's bias correction depends on."""
        updates = in_order(updates)
        least = self.optimiser.least_sites(self.tolerated)
        if len(updates) < least:
            raise TrainingError(
                f"optimiser='{self.optimiser.name}' needs {least} updates to withstand "
                f"{self.tolerated} faulty sites, {len(updates)} came: set tolerated-sites lower"
            )
        self._set_up(x, len(updates))
        found, _ = self.strategy.aggregate_train(round, [self._reply(one) for one in updates])
        return {name: np.asarray(one + found[name].numpy(), np.float32) for name, one in x.items()}

    def _set_up(self, x: Mapping[str, np.ndarray], sites: int) -> None:
        """What the strategy takes from a grid's round: the model (0, see above), the counts."""
        zero = {name: np.zeros_like(one) for name, one in x.items()}
        if isinstance(self.strategy, PRIVATE):  # clips changes about 0, over those that came
            self.strategy.current_arrays, self.strategy.num_sampled_clients = _record(zero), sites
        match self.strategy:
            case flower.FedAvgM():
                self.strategy.current_arrays = _record(zero)
            case flower.FedAdam() | flower.FedYogi():
                self.strategy.current_arrays = zero
            case flower.FedTrimmedAvg():  # int(beta · sites) is tolerated, whatever the rounding
                self.strategy.beta = (self.tolerated + 0.25) / sites
            case flower.Krum():
                self.strategy.num_malicious_nodes = self.tolerated

    def _reply(self, update: Update) -> _Reply:
        counts = MetricRecord({"num-examples": update.examples if self.weighted else 1})
        arrays = _record(countable(update.change))
        return _Reply(RecordDict({"arrays": arrays, "metrics": counts}))

    def state(self) -> Remembered:
        """Momenta and the clip, as the strategy holds them."""
        facts = {CLIP: self.strategy.clipping_norm} if hasattr(self.strategy, CLIP) else {}
        found = {
            f"{short}/{name}": one
            for long, short in KEPT.items()
            for name, one in (getattr(self.strategy, long, None) or {}).items()
        }
        for at, one in enumerate(getattr(self.strategy, "momentum_vector", None) or []):
            found[f"momentum/{at}"] = one
        return Remembered(found, facts)

    def restore(self, state: Remembered) -> None:
        """See `Rule`."""
        if CLIP in state.facts:
            self.strategy.clipping_norm = float(state.facts[CLIP])
        for long, short in KEPT.items():
            part = {
                key.partition("/")[2]: one
                for key, one in state.arrays.items()
                if key.startswith(f"{short}/")
            }
            if part:
                setattr(self.strategy, long, part)
        count = sum(key.startswith("momentum/") for key in state.arrays)
        if count:
            self.strategy.momentum_vector = [state.arrays[f"momentum/{at}"] for at in range(count)]


def _record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """In the order of the names, which FedAvgM's momentum goes by."""
    return ArrayRecord({name: Array(arrays[name]) for name in sorted(arrays)})
