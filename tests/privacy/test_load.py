"""Steps that take an image by chance: what they cost, alone, together, beside plain releases."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.ledger import Ledger, Request
from fedpatchcore.privacy.load import Load, Steps, load_of, most, sampled_sigma

DELTA = 1e-5
IMAGES = ("a" * 64, "b" * 64)


def rdp(rate: float, multiplier: float, count: int) -> float:
    """The same by Rényi divergences: another theory, never below the truth."""
    accountant = RdpAccountant()
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(multiplier))
    accountant.compose(SelfComposedDpEvent(event, count))
    return float(accountant.get_epsilon(DELTA))


@pytest.mark.parametrize("rate, multiplier, count", [(0.1, 1.0, 50), (0.5, 2.0, 20), (0.9, 4, 8)])
def test_sampled_steps_cost_less_than_all_by_two_theories(rate, multiplier, count) -> None:
    found = load_of(multiplier, rate, count).epsilon(DELTA)
    assert found < rdp(rate, multiplier, count) < found * 1.25
    assert found < gaussian_epsilon(multiplier / count**0.5, DELTA)


def test_they_cost_the_more_the_more_often_an_image_is_taken() -> None:
    told = [load_of(2.0, rate, 20).epsilon(DELTA) for rate in (0.01, 0.1, 0.5, 0.999)]
    assert all(one < other for one, other in pairwise(told))
    assert told[-1] == pytest.approx(gaussian_epsilon(2.0 / 20**0.5, DELTA), rel=1e-2)


def test_rounds_add_up_in_any_order_and_beside_plain_releases() -> None:
    one, plain = load_of(2.0, 0.25, 8), load_of(3.0, None, None)
    assert one.plus(one) == load_of(2.0, 0.25, 16)
    assert one.plus(plain) == plain.plus(one)
    both = one.plus(plain).epsilon(DELTA)
    assert max(one.epsilon(DELTA), plain.epsilon(DELTA)) < both
    assert both < one.epsilon(DELTA / 2) + plain.epsilon(DELTA / 2)  # the crudest composition
    two = load_of(2.0, 0.25, 4).plus(load_of(1.5, 0.5, 2))
    assert [s.rate for s in two.sampled] == [0.25, 0.5]


def test_a_step_taken_for_certain_is_a_plain_release_of_so_much_noise() -> None:
    assert sampled_sigma(4.0, DELTA, 1.0, 9) == pytest.approx(3 * gaussian_sigma(4.0, DELTA))


@pytest.mark.parametrize("epsilon, rate, steps", [(8.0, 0.25, 40), (1.0, 0.5, 6)])
def test_noise_is_enough_and_hardly_more(epsilon: float, rate: float, steps: int) -> None:
    sigma = sampled_sigma(epsilon, DELTA, rate, steps)
    cost = load_of(sigma, rate, steps).epsilon(DELTA)
    assert 0.998 * epsilon < cost <= epsilon
    assert load_of(sigma / 1.001, rate, steps).epsilon(DELTA) > epsilon * 0.999


def test_no_noise_is_no_protection() -> None:
    assert load_of(0.0, 0.5, 3).epsilon(DELTA) == math.inf
    assert load_of(0.0, None, None).epsilon(DELTA) == math.inf
    assert Load().epsilon(DELTA) == 0 and not Load()
    assert most([], Load(), DELTA) == 0


@pytest.mark.parametrize("rate, steps", [(0.0, 3), (1.5, 3), (0.5, 0), (math.nan, 2)])
def test_what_cannot_be_accounted_for_is_refused(rate: float, steps: int) -> None:
    with pytest.raises(PrivacyError):
        load_of(1.0, rate, steps)
    with pytest.raises(PrivacyError):
        sampled_sigma(1.0, DELTA, rate, steps)


def request(key: str, **told) -> Request:
    base = {"run": "run", "site": "north", "section": "plate", "mechanism": "sgd"}
    base |= {"epsilon": 1.0, "delta": DELTA, "multiplier": 2.0, "images": IMAGES, "label": "l"}
    return Request(key=key * 8, **{**base, "rate": 0.25, "steps": 8, **told})


def test_a_ledger_composes_them_and_refuses_the_round_that_is_too_much(tmp_path) -> None:
    book, arrays = Ledger(tmp_path / "ledger"), lambda: {}
    budget = load_of(2.0, 0.25, 20).epsilon(DELTA)
    for at in range(2):
        told = book.release(request(f"{at}a"), arrays, budget_epsilon=budget, delta=DELTA)
        assert told.spent == pytest.approx(load_of(2.0, 0.25, 8 * (at + 1)).epsilon(DELTA))
    with pytest.raises(PrivacyError, match="privacy budget of north for section plate"):
        book.release(request("2a"), arrays, budget_epsilon=budget, delta=DELTA)
    with pytest.raises(PrivacyError, match="has answered this run"):
        told = request("3a", run_epsilon=told.spent)
        book.release(told, arrays, budget_epsilon=99, delta=DELTA)
    plain = request("4a", rate=None, steps=None, multiplier=9.0, run="next")
    after = book.release(plain, arrays, budget_epsilon=99, delta=DELTA).spent
    assert after == Load(9.0**-2, (Steps(0.25, 2.0, 16),)).epsilon(DELTA)
    assert book.summary(DELTA, 99)["spent"] == after
    assert [c.rate for c in book.charges()] == [0.25, 0.25, None]


def test_a_retry_with_other_steps_is_no_retry(tmp_path) -> None:
    book = Ledger(tmp_path / "ledger")
    book.release(request("aa"), lambda: {}, budget_epsilon=99, delta=DELTA)
    for other in ({"steps": 9}, {"rate": 0.5}, {"multiplier": 1.0}):
        with pytest.raises(PrivacyError, match="for another release"):
            book.release(request("aa", **other), lambda: {}, budget_epsilon=99, delta=DELTA)


@pytest.mark.parametrize("told", [{"rate": None}, {"steps": None}, {"rate": 1.0}])
def test_half_a_statement_is_none(told: dict) -> None:
    with pytest.raises(PrivacyError, match="cannot be accounted for"):
        request("aa", **told)
