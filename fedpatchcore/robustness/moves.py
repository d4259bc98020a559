"""How long sites' updates are: one that is far longer or shorter than the others' stands out.

A site that would move a model alone sends a long update (Sun et al., *Can You Really Backdoor
Federated Learning?*, 2019, bound the norm for that reason); one that trains on nothing sends a
short one. Lengths of honest sites differ by factors, so it is their logarithms that are compared,
each by its distance from the median in robust standard deviations. A direction says nothing here:
that is for medians and Krum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fedpatchcore.deviation import robust_sigma

__all__ = ["length", "move_scores"]

SHORTEST = 1e-30  # of an update that moves nothing
FLOOR = 0.2  # of the standard deviation of logarithms: a factor of two is nothing to speak of


def length(change: Mapping[str, np.ndarray], steps: float) -> float:
    """L2 length of an update by name, divided by the weight of its local steps."""
    squares = sum(float(np.square(one, dtype=np.float64).sum()) for one in change.values())
    return math.sqrt(squares) / steps


def move_scores(lengths: Mapping[str, float]) -> dict[str, float]:
    """By how many robust standard deviations each site's length lies apart, longer or shorter.

    With the default threshold of 3.5 nobody within a factor of two of the median stands out
    (e^(0.2 · 3.5) = 2.01). The median of n sites is held by the honest ones while fewer than half
    of them are faulty.
    """
    logs = np.log(np.maximum(list(lengths.values()), SHORTEST))
    spread = max(robust_sigma(logs), FLOOR)
    apart = np.abs(logs - np.median(logs)) / spread
    return dict(zip(lengths, apart.tolist(), strict=True))
