"""How much noise a release of one round takes: both sides of a private run need to know."""

from __future__ import annotations

from functools import lru_cache

from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.shares import round_share
from fedpatchcore.privacy.sums import ImageSums

__all__ = ["round_sigma", "sums_over"]


def round_sigma(config: PrivacySettings, rounds: int, number: int = 1) -> float:
    """Noise of one release, so that one a round costs ``dp-epsilon`` over all rounds."""
    share = round_share(config, rounds, number)
    return _sigma(config.dp_epsilon, config.dp_delta) / share**0.5


def sums_over(
    config: PrivacySettings, codebook: Codebook, rounds: int, number: int = 1
) -> ImageSums:
    """The mechanism of a run with noisy sums, with the noise of one of its rounds."""
    sigma = round_sigma(config, rounds, number)
    return MECHANISMS[config.dp].load().of(codebook, sigma, config)


@lru_cache(maxsize=16)
def _sigma(epsilon: float, delta: float) -> float:
    return gaussian_sigma(epsilon, delta)
