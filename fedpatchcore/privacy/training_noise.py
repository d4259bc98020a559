"""How much noise training takes, so that all its rounds together cost ``dp-epsilon``."""

from __future__ import annotations

from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.load import sampled_sigma
from fedpatchcore.privacy.settings import PrivacySettings

__all__ = ["client_multiplier", "step_multiplier", "update_multiplier"]

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
