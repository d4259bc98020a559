"""How much noise a release of one round takes: both sides of a private run need to know."""

from __future__ import annotations

from functools import lru_cache

from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.sums import ImageSums

__all__ = ["round_sigma", "sums_over"]


def round_sigma(config: PrivacySettings, rounds: int) -> float:
    """Noise of one release, so that one a round costs ``dp-epsilon`` over all rounds."""
    return _sigma(config.dp_epsilon, config.dp_delta) * rounds**0.5


def sums_over(config: PrivacySettings, codebook: Codebook, rounds: int) -> ImageSums:
    """The mechanism of a run with noisy sums, with the noise of one of its rounds."""
    return MECHANISMS[config.dp].load().of(codebook, round_sigma(config, rounds), config)


@lru_cache(maxsize=16)
def _sigma(epsilon: float, delta: float) -> float:
    return gaussian_sigma(epsilon, delta)
