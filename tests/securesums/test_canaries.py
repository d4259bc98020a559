"""An attack on sums that open as a whole shows no more than is charged, and finds noise that lacks.

One coordinate of a sum of four sites, of which one is in league with the server and tells it its
own noise: an image moves it by the whole sensitivity, or is not there.
"""

from __future__ import annotations

import numpy as np
import pytest

from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.audit.refutation import epsilon_lower_bound
from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.shared_noise import share_steps
from fedpatchcore.privacy.sums import STEPS_A_SIGMA
from fedpatchcore.securesums.afford import alone_epsilon

DELTA, SITES, COLLUDING, RUNS = 1e-5, 4, 1, 4000


def shown(epsilon: float, shares: int, seed: int) -> float:
    """Lower bound on ε at 99.9% from sums opened with so many shares of honest sites' noise."""
    random = np.random.default_rng(seed).bytes
    moved = STEPS_A_SIGMA / gaussian_sigma(epsilon, DELTA)  # the sensitivity, in steps
    share = share_steps(SITES, COLLUDING)
    without, within = (
        sum(discrete_gaussian(share, RUNS, randbytes=random) for _ in range(shares)) + round(at)
        for at in (0.0, moved)
    )
    bounds = [
        epsilon_lower_bound(within, without, delta=DELTA, confidence=0.999, gaussian=gaussian)
        for gaussian in (False, True)
    ]
    return max(one.epsilon for one in bounds)


@pytest.mark.parametrize("epsilon", [4.0, 8.0])
def test_an_opened_sum_shows_no_more_than_is_charged(epsilon: float) -> None:
    found = shown(epsilon, SITES - COLLUDING, 5)
    assert 0.6 * epsilon < found <= epsilon


@pytest.mark.parametrize("epsilon", [4.0, 8.0])
def test_with_all_others_in_league_it_shows_the_second_figure(epsilon: float) -> None:
    """What one share is charged for, and more than a claim of the first figure allows."""
    found, alone = shown(epsilon, 1, 6), alone_epsilon(epsilon, DELTA, SITES, COLLUDING)
    assert epsilon < found <= alone
