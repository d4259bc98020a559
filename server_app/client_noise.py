"""Privacy of whole sites: Flower's wrappers for central differential privacy, used as they are.

The wrapper clips each site's change, lets the strategy take the mean, and adds Gaussian noise.
It may wrap FedAvg and FedProx alone: noise comes *after* the strategy's step, and the momenta of
FedAvgM, FedAdam and FedYogi would carry what it should hide into every later round.

Its noise is NumPy's, from a global generator that nobody here seeds: no secure one, and floats. The
server that adds it sees every update before; whoever does not trust it takes noise at the sites.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord
from flwr.common.logger import FLOWER_LOGGER
from flwr.serverapp import strategy as flower

from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.training_noise import update_multiplier

__all__ = ["countable", "noisy", "put_zero"]

Fixed = flower.DifferentialPrivacyServerSideFixedClipping
Adaptive = flower.DifferentialPrivacyServerSideAdaptiveClipping
COUNTED = 20  # Andrew et al., 2021: noise of the count of clipped updates, a share of the sites
LEAST = 1e-12  # of an update's norm, which the wrapper divides by
CHATTER = ("aggregate_fit: ", "aggregate_train: ")
FLOWER_LOGGER.addFilter(lambda record: not str(record.msg).startswith(CHATTER))


def noisy(
    strategy: flower.FedAvg, settings: PrivacySettings, *, rounds: int, sites: int
) -> Fixed | Adaptive:
    """The strategy with the noise of one of ``rounds`` rounds on its mean.

    Adaptive clipping (Andrew et al., NeurIPS 2021) spends part of the same noise on the count of
    clipped updates: both together are as good as the multiplier says, for another update in the
    place of a site's as well.
    """
    multiplier = update_multiplier(settings, rounds)
    if settings.dp_clipping == "fixed":
        return Fixed(strategy, multiplier, settings.dp_clip, sites)
    counted = max(sites / COUNTED, multiplier)  # the default is too small for few sites
    return Adaptive(
        strategy,
        multiplier,
        sites,
        initial_clipping_norm=settings.dp_clip,
        clipped_count_stddev=counted,
    )


def put_zero(strategy: flower.Strategy, zero: ArrayRecord, sites: int) -> None:
    """Before a round: changes are clipped about 0, and the mean is over those that came."""
    if isinstance(strategy, Fixed | Adaptive):
        strategy.current_arrays, strategy.num_sampled_clients = zero, sites


def countable(change: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A change that can be divided by its norm: one of nothing becomes next to nothing."""
    if any(one.any() for one in change.values()):
        return change
    name = min(change)
    least = np.array(change[name])
    least.flat[0] = LEAST
    return {**change, name: least}
