"""How much noise training takes, so that all its rounds together cost ``dp-epsilon``.

That of whole sites (dp="client") is added by Flower's wrappers at the server, as they are. They may
wrap FedAvg and FedProx alone: noise comes *after* the strategy's step, and the momenta of FedAvgM,
FedAdam and FedYogi would carry what it should hide into every later round. Their noise is NumPy's,
from a global generator that nobody here seeds: no secure one, and floats.
"""

from __future__ import annotations

from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.load import sampled_sigma
from fedpatchcore.privacy.settings import PrivacySettings

__all__ = ["client_multiplier", "counted_noise", "step_multiplier", "update_multiplier"]

COUNTED = 20  # Andrew et al., NeurIPS 2021: noise of a count, a share of the sites
REPLACED = 2.0  # clips by which another update in the place of a site's moves the sum


def step_multiplier(config: PrivacySettings, steps: int) -> float:
    """dp="sgd": σ over the clip, of each of ``steps`` steps of all rounds."""
    return sampled_sigma(config.dp_epsilon, config.dp_delta, config.dp_sample_rate, steps)


def client_multiplier(config: PrivacySettings, rounds: int) -> float:
    """dp="client": noise of a round over the most that a site moves it, which is two clips.

    The sites of a round are known and their number divides the sum, so a site is not added or
    removed: its update becomes another, of norm at most the clip as well.
    """
    return gaussian_sigma(config.dp_epsilon, config.dp_delta) * rounds**0.5


def update_multiplier(config: PrivacySettings, rounds: int) -> float:
    """dp="client": the same over the clip, as Flower's wrappers take it."""
    return REPLACED * client_multiplier(config, rounds)


def counted_noise(multiplier: float, sites: int) -> float:
    """Standard deviation of noise on the count of clipped updates, where the clip adapts to it.

    Part of the multiplier's noise goes there; both together are as good as it says, for another
    update in the place of a site's as well. The customary 1/20 of the sites is too little for few.
    """
    return max(sites / COUNTED, multiplier)
