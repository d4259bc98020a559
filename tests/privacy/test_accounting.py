"""The price of Gaussian noise: closed form, high precision and privacy loss distributions agree."""

from __future__ import annotations

import math

import mpmath
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, get_sigma_gaussian
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import (
    composed_epsilon,
    gaussian_epsilon,
    gaussian_sigma,
    group_epsilon,
    max_delta,
    mu_squared,
    pld_epsilon,
)

DELTAS = st.floats(-10, -0.5).map(lambda power: 10**power)
EPSILONS = st.floats(-4, 3).map(lambda power: 10**power)


def exact_delta(sigma: float, epsilon: float) -> float:
    """Theorem 8 of Balle & Wang to 60 digits."""
    with mpmath.workdps(60):
        sigma, epsilon = mpmath.mpf(sigma), mpmath.mpf(epsilon)
        half, tilt = 1 / (2 * sigma), epsilon * sigma
        return mpmath.ncdf(half - tilt) - mpmath.exp(epsilon) * mpmath.ncdf(-half - tilt)


@pytest.mark.parametrize(("epsilon", "sigma"), [(1, 3.73063), (4, 1.08116), (8, 0.60023)])
def test_the_known_multipliers(epsilon: float, sigma: float) -> None:
    assert gaussian_sigma(epsilon, 1e-5) == pytest.approx(sigma, abs=1e-5)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 0.6, 1.0, 3.73, 50.0, 1e3, 1e4])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-7, 1e-10])
def test_epsilon_is_never_below_the_truth_and_hardly_above(sigma: float, delta: float) -> None:
    epsilon = gaussian_epsilon(sigma, delta)
    assert exact_delta(sigma, epsilon) <= delta
    assert epsilon == 0 or exact_delta(sigma, epsilon * (1 - 1e-6)) > delta


@given(epsilon=EPSILONS, delta=DELTAS, sensitivity=st.floats(1e-3, 1e3))
def test_calibrated_noise_never_costs_more_than_asked(
    epsilon: float, delta: float, sensitivity: float
) -> None:
    sigma = gaussian_sigma(epsilon, delta, sensitivity=sensitivity)
    assert gaussian_epsilon(sigma, delta, sensitivity=sensitivity) <= epsilon
    assert sigma == pytest.approx(sensitivity * get_sigma_gaussian(epsilon, delta), rel=1e-6)


def test_only_the_ratio_of_sigma_and_sensitivity_counts() -> None:
    assert gaussian_epsilon(6, 1e-5, sensitivity=2) == gaussian_epsilon(3, 1e-5)
    assert gaussian_sigma(1, 1e-5, sensitivity=2) == pytest.approx(2 * gaussian_sigma(1, 1e-5))


def test_no_noise_is_no_protection() -> None:
    assert gaussian_epsilon(0, 1e-5) == gaussian_epsilon(1e-9, 1e-5) == math.inf
    assert mu_squared(0) == mu_squared(1e-200) == math.inf
    assert gaussian_epsilon(math.inf, 1e-5) == 0


@settings(max_examples=25)
@given(st.lists(st.floats(0.3, 30), min_size=1, max_size=6), st.sampled_from([1e-4, 1e-5, 1e-7]))
def test_composition_agrees_with_privacy_loss_distributions(
    multipliers: list[float], delta: float
) -> None:
    closed, numerical = composed_epsilon(multipliers, delta), pld_epsilon(multipliers, delta)
    assert numerical >= closed - 1e-9
    assert numerical == pytest.approx(closed, rel=1e-3)


@pytest.mark.parametrize("multipliers", [[0.0135], [0.05] * 4, [5.0] * 50, [0.01, 2.0]])
def test_composition_agrees_at_the_ends_of_the_scale(multipliers: list[float]) -> None:
    closed, numerical = composed_epsilon(multipliers, 1e-5), pld_epsilon(multipliers, 1e-5)
    assert closed - 1e-9 <= numerical <= closed * 1.001


def test_composition_of_one_many_none_and_the_unprotected() -> None:
    assert composed_epsilon([2.5], 1e-5) == pytest.approx(gaussian_epsilon(2.5, 1e-5))
    assert composed_epsilon([4.0] * 4, 1e-5) == pytest.approx(gaussian_epsilon(2.0, 1e-5))
    assert composed_epsilon([], 1e-5) == pld_epsilon([], 1e-5) == 0
    assert composed_epsilon([3.0, 0.0], 1e-5) == pld_epsilon([3.0, 0.0], 1e-5) == math.inf


@given(st.lists(st.floats(0.1, 100), max_size=8), st.floats(0.1, 100), st.randoms())
def test_a_further_release_never_makes_it_cheaper(
    multipliers: list[float], further: float, random
) -> None:
    before = composed_epsilon(multipliers, 1e-5)
    after = [*multipliers, further]
    random.shuffle(after)
    assert composed_epsilon(after, 1e-5) >= before


def test_replacing_an_image_is_rescaled_by_one_accountant_and_not_by_the_other() -> None:
    """Why everything here is add-or-remove with the sensitivity stated.

    For the same multiplier, PLD with REPLACE_ONE doubles the sensitivity by itself; RDP does not,
    so whoever states the sensitivity of replacement counts it twice with one, once with the other.
    """

    def epsilon(accountant) -> float:
        return accountant.compose(GaussianDpEvent(4.0)).get_epsilon(1e-5)

    add, replace = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE
    assert epsilon(PLDAccountant(replace)) > 1.9 * epsilon(PLDAccountant(add))
    assert epsilon(PLDAccountant(replace)) == pytest.approx(gaussian_epsilon(2.0, 1e-5), rel=1e-3)
    orders = [1 + x / 10 for x in range(1, 640)]
    rdp = [epsilon(RdpAccountant(orders, relation)) for relation in (add, replace)]
    assert rdp[0] == rdp[1] >= gaussian_epsilon(4.0, 1e-5)


def test_an_image_with_many_rows_voids_a_per_row_guarantee() -> None:
    nominal = gaussian_sigma(1, 1e-5)
    assert group_epsilon(nominal, 1e-5, 1, per_row_change=1) == gaussian_epsilon(nominal, 1e-5)
    assert group_epsilon(nominal, 1e-5, 62) == pytest.approx(26.224, abs=1e-3)
    assert group_epsilon(nominal, 1e-5, 19_000) > 3000
    assert group_epsilon(nominal, 1e-5, 4, per_row_change=1) == group_epsilon(nominal, 1e-5, 1)
    assert group_epsilon(0, 1e-5, 3) == math.inf
    assert group_epsilon(nominal, 1e-5, 0) == 0


@given(st.floats(0.1, 50), st.integers(0, 5000), st.integers(1, 5000))
def test_more_rows_cost_more(ratio: float, rows: int, more: int) -> None:
    assert group_epsilon(ratio, 1e-5, rows) <= group_epsilon(ratio, 1e-5, rows + more)


def test_delta_shrinks_with_the_number_of_images() -> None:
    assert max_delta(1) == max_delta(10_000) == 1e-5
    assert max_delta(1_000_000) == 1e-7


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: gaussian_sigma(0, 1e-5),
        lambda: gaussian_sigma(-1, 1e-5),
        lambda: gaussian_sigma(math.nan, 1e-5),
        lambda: gaussian_sigma(math.inf, 1e-5),
        lambda: gaussian_sigma(1, 0),
        lambda: gaussian_sigma(1, 1),
        lambda: gaussian_sigma(1, math.nan),
        lambda: gaussian_sigma(1, 1e-5, sensitivity=0),
        lambda: gaussian_epsilon(-1, 1e-5),
        lambda: gaussian_epsilon(math.nan, 1e-5),
        lambda: gaussian_epsilon(1, -1e-5),
        lambda: gaussian_epsilon(1, 1e-5, sensitivity=math.inf),
        lambda: composed_epsilon([1, -1], 1e-5),
        lambda: composed_epsilon([math.nan], 1e-5),
        lambda: composed_epsilon([], 2),
        lambda: pld_epsilon([1], 0),
        lambda: group_epsilon(1, 1e-5, -1),
        lambda: group_epsilon(math.nan, 1e-5, 0),
        lambda: group_epsilon(1, 1e-5, 1, per_row_change=0),
        lambda: max_delta(0),
    ],
)
def test_nonsense_is_refused(nonsense) -> None:
    with pytest.raises(PrivacyError):
        nonsense()
