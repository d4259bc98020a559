"""What a run's shares of noise come to for a site if all others collude, before any is drawn."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from fedpatchcore.errors import SecureSumError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.shared_noise import alone_multiplier
from fedpatchcore.securesums.terms import openers_among
from fedpatchcore.spelling import typed

__all__ = ["alone_clash", "alone_epsilon"]


@lru_cache(maxsize=64)
def alone_epsilon(epsilon: float, delta: float, openers: int, colluding: int) -> float:
    """ε of a run if all other sites collude with the server, where ``openers`` open its sums.

    Rounds that share ``epsilon`` compose as one Gaussian, with each site's share as with the whole.
    """
    share = alone_multiplier(gaussian_sigma(epsilon, delta), openers, colluding)
    return gaussian_epsilon(share, delta)


def alone_clash(config: Any, sites: int) -> str:
    """Why no site could pay for this run's shares of noise, in one line; "" if each may.

    Args:
        config: the settings of a run, of all rooms (`fedpatchcore.config.RunConfig`).
        sites: that take part, or that must; where they are too few for any sum, others say so.
    """
    if not config.secure_sums or config.dp == "off":
        return ""
    try:
        openers = openers_among(sites, config.min_openers, config.colluding_sites)
        found = alone_epsilon(config.dp_epsilon, config.dp_delta, openers, config.colluding_sites)
    except SecureSumError:
        return ""
    if found <= config.dp_alone_epsilon:
        return ""
    return (
        f"if {openers} of {sites} sites open a sum, a site's own share of the noise leaves ε="
        f"{found:.4g} should all others collude with the server, and dp-alone-epsilon is "
        f"{config.dp_alone_epsilon:g}: no site could pay for this run. Lower dp-epsilon "
        f"({config.dp_epsilon:g}), let fewer sites open (min-openers), or set "
        f"{typed('dp-alone-epsilon', f'{math.ceil(10 * found) / 10:g}')}"
    )
