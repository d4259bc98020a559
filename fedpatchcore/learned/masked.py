"""Updates as whole numbers that add up under masks, and their mean again.

A model is one vector, its parameters in the order of their names. Without differential privacy
numbers are multiples of 2^-32, rounded to the nearest: a mean is off by at most 2^-33 in each
coordinate. With ``dp = "client"`` a site's vector is cut to L2 norm ``dp-clip``, then toward zero
to a lattice of the noise (`fedpatchcore.privacy.shared_noise`), which lengthens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.sums import STEPS_A_SIGMA
from fedpatchcore.privacy.training_noise import update_multiplier

__all__ = ["flat", "numbers_of", "shaped", "step_of"]

FINE = 2.0**-32
MOST = 2.0**20  # of a coordinate: sums over 2^10 sites stay within 63 bits
ROUNDING = 1e-9  # by how much a vector is kept shorter than the clip; float64 norms err by less


def step_of(config: PrivacySettings, rounds: int) -> float:
    """Of the lattice that updates are numbers on."""
    if config.dp == "off":
        return FINE
    return update_multiplier(config, rounds) * config.dp_clip / STEPS_A_SIGMA


def flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """All parameters as one float64 vector ``[P]``."""
    return np.concatenate([np.ravel(arrays[name]).astype(np.float64) for name in sorted(arrays)])


def shaped(vector: np.ndarray, like: Mapping[str, np.ndarray]) -> Arrays:
    """Inverse of `flat`, float32 by name."""
    found, at = {}, 0
    for name in sorted(like):
        size = like[name].size
        found[name] = vector[at : at + size].reshape(like[name].shape).astype(np.float32)
        at += size
    return found


def numbers_of(change: np.ndarray, config: PrivacySettings, rounds: int) -> np.ndarray:
    """An update ``[P]`` in steps, int64. Raises TrainingError if it is none that adds up."""
    exact, step = change.astype(np.float64), step_of(config, rounds)
    if config.dp == "off":
        largest = float(np.abs(exact).max(initial=0.0))
        if not largest <= MOST:
            raise TrainingError(
                f"the update of this site holds {largest:g}, which does not fit into a masked "
                "sum; set a smaller learning-rate"
            )
        return np.rint(exact / step).astype(np.int64)
    length = float(np.linalg.norm(exact))
    if not np.isfinite(length):  # to raise would itself tell
        return np.zeros(len(exact), np.int64)
    if length > config.dp_clip * (1 - ROUNDING):
        exact *= config.dp_clip * (1 - ROUNDING) / length
    return np.trunc(exact / step).astype(np.int64)
