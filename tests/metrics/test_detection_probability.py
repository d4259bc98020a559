"""POD curves: closed forms, independent maximisation, coverage of a90/95, honest refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.detection_probability import NoPod, Pod, fit_pod
from fedpatchcore.server.runfolder import plain


def draw(seed: int, count: int = 80, b0: float = -6, b1: float = 3):
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, np.log(40), count))
    return sizes, rng.random(count) < expit(b0 + b1 * np.log(sizes))


def two_sizes(first: tuple[int, int], second: tuple[int, int], a: float = 2.0, b: float = 6.0):
    """Hits and trials at two sizes."""
    (h1, n1), (h2, n2) = first, second
    found = [True] * h1 + [False] * (n1 - h1) + [True] * h2 + [False] * (n2 - h2)
    return fit_pod([a] * n1 + [b] * n2, found)


def test_of_two_sizes_the_curve_goes_through_both_shares() -> None:
    """As many parameters as sizes: the maximum is known, and so is its curvature."""
    pod = two_sizes((6, 20), (27, 30))
    x1, x2 = math.log(2), math.log(6)
    slope = (logit(0.9) - logit(0.3)) / (x2 - x1)
    assert pod.slope == pytest.approx(slope) and pod.at([2, 6]) == pytest.approx([0.3, 0.9])
    assert pod.size(0.9) == pytest.approx(6) and pod.size(0.3) == pytest.approx(2)
    assert pod.size(0.5) == pytest.approx(math.exp(x1 - logit(0.3) / slope))
    v1, v2 = 1 / (20 * 0.3 * 0.7), 1 / (30 * 0.9 * 0.1)
    assert pod.covariance[1, 1] == pytest.approx((v1 + v2) / (x2 - x1) ** 2)
    low = expit(logit(0.9) - norm.ppf(0.95) * math.sqrt(v2))
    assert pod.lowest([6])[0] == pytest.approx(low)
    # Wald's a90/95 is where that lower bound reaches .9
    assert pod.lowest([pod.sure_size()])[0] == pytest.approx(0.9)
    assert pod.sure_size() > pod.size(0.9) > pod.size(0.5)
    assert (pod.trials, pod.hits, pod.few) == (50, 33, True)


@pytest.mark.parametrize("seed", range(4))
def test_another_maximiser_finds_the_same(seed: int) -> None:
    sizes, found = draw(seed)
    pod = fit_pod(sizes, found)
    x = np.log(sizes)

    def loss(b):
        p = np.clip(expit(b[0] + b[1] * x), 1e-15, 1 - 1e-15)
        return -np.sum(np.where(found, np.log(p), np.log(1 - p)))

    other = minimize(loss, [0, 0.1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
    assert (pod.intercept, pod.slope) == pytest.approx(tuple(other.x), rel=1e-5)
    h, centre = 1e-4, np.array([pod.intercept, pod.slope])
    steps = np.eye(2) * h
    information = np.array(
        [
            [
                (loss(centre + a + b) - loss(centre + a - b) - loss(centre - a + b)
                 + loss(centre - a - b)) / (4 * h * h)
                for b in steps
            ]
            for a in steps
        ]
    )  # fmt: skip
    assert pod.covariance == pytest.approx(np.linalg.inv(information), rel=1e-4)
    # the ratio's bound: the best curve through (a90/95, .9) loses just as much as it may
    bound = math.log(pod.sure_size(by="likelihood"))
    free = minimize(lambda b: loss([logit(0.9) - b[0] * bound, b[0]]), [pod.slope], method="BFGS")
    assert 2 * (free.fun - other.fun) == pytest.approx(chi2.ppf(0.9, 1), rel=1e-4)


def test_sklearn_agrees() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    sizes, found = draw(9, 200)
    model = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(np.log(sizes)[:, None], found)
    pod = fit_pod(sizes, found)
    assert pod.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert pod.intercept == pytest.approx(model.intercept_[0], rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 254.0])
def test_units_and_order_do_not_matter(scale: float) -> None:
    sizes, found = draw(1)
    pod, other = fit_pod(sizes, found), fit_pod(scale * sizes[::-1], found[::-1])
    assert other.slope == pytest.approx(pod.slope)
    for value in (pod.size, pod.sure_size):
        again = getattr(other, value.__name__)
        assert again(0.9) == pytest.approx(scale * value(0.9))


@pytest.mark.parametrize(
    ("count", "b0", "b1", "by", "least"),
    [
        (60, -6, 3, "wald", 0.95),
        (60, -3, 1.2, "wald", 0.95),
        (200, -6, 2, "wald", 0.95),
        (60, -6, 3, "likelihood", 0.9),
    ],
)
def test_the_true_a90_is_below_a90_95_in_nineteen_of_twenty(count, b0, b1, by, least) -> None:
    true = math.exp((math.log(9) - b0) / b1)
    fits = [fit_pod(*draw(seed, count, b0, b1)) for seed in range(300)]
    held = [pod.sure_size(by=by) >= true for pod in fits if isinstance(pod, Pod)]
    assert len(held) > 290 and np.mean(held) >= least - 0.02  # standard error .0126


def test_a_curve_that_more_trials_determine_has_a_closer_bound() -> None:
    sizes, found = draw(2)
    one, many = fit_pod(sizes, found), fit_pod(np.tile(sizes, 4), np.tile(found, 4))
    assert many.size(0.9) == pytest.approx(one.size(0.9))
    for by in ("wald", "likelihood"):
        assert one.size(0.9) < many.sure_size(by=by) < one.sure_size(by=by)
    assert not many.few and many.covariance == pytest.approx(one.covariance / 4, rel=1e-6)


def refused(sizes, found) -> NoPod:
    told = fit_pod(sizes, found)
    assert isinstance(told, NoPod)
    assert (told.trials, told.hits) == (len(found), sum(found))
    json.dumps(plain(told.told()), allow_nan=False)
    return told


def test_all_found_is_no_curve_but_a_bound() -> None:
    sizes = np.linspace(1, 9, 29)
    told = refused(sizes, [True] * 29)
    assert "all 29 were found" in str(told) and "90.1% or more" in str(told)
    assert told.at_least == pytest.approx(0.05 ** (1 / 29)) and told.at_least > 0.9  # 29 of 29
    assert math.isnan(refused(sizes, [False] * 29).at_least)
    none = str(refused(sizes, [False] * 29))
    assert "all 29 were missed" in none and "9.9% or less" in none  # .902 ** 29 = .05


def test_too_few_trials_one_size_and_a_step_are_refused() -> None:
    assert "19 trials are too few: at least 20, better 60" in str(
        refused(np.linspace(1, 9, 19), [False, True] * 9 + [True])
    )
    assert "all are of one size" in str(refused([3.0] * 30, [True, False] * 15))
    sizes = np.arange(1.0, 31)
    step = str(refused(sizes / 100, sizes > 12))
    assert "all of 12% and below were missed and all above found" in step
    assert "not found more often" in str(refused(sizes, sizes < 12))
    assert "not found more often" in str(refused(np.tile(sizes, 2), np.tile(sizes, 2) % 19 < 9))
    assert fit_pod([], []).reason.startswith("0 trials are too few")


def test_one_trial_across_the_step_is_enough_for_a_curve() -> None:
    sizes = np.arange(1.0, 31)
    found = sizes > 12
    found[10] = True
    pod = fit_pod(sizes, found)
    assert isinstance(pod, Pod) and 10 < pod.size(0.5) < 14


def test_a_slope_that_is_not_sure_has_no_bound() -> None:
    pod = two_sizes((14, 30), (16, 30))
    assert pod.sure_size() == pod.sure_size(by="likelihood") == math.inf
    told = json.loads(json.dumps(plain(pod.told()), allow_nan=False))
    assert told["a90_95"] is None and told["beyond"] is True


@pytest.mark.parametrize(("intercept", "size"), [(3.0, 0.0), (-3.0, math.inf)])
def test_a_flat_curve_has_no_sizes_and_says_so(intercept: float, size: float) -> None:
    """Where next to nothing depends on the size, half or nine tenths are found at none."""
    pod = replace(two_sizes((2999, 6000), (3000, 6000)), intercept=intercept, slope=1e-4)
    assert pod.size(0.5) == pod.size(0.9) == size and pod.beyond
    told = json.loads(json.dumps(plain(pod.told()), allow_nan=False))
    assert told["a50"] is None and told["a90"] is None


def test_a_size_that_was_not_tried_is_said_to_be_beyond() -> None:
    assert two_sizes((6, 20), (27, 30)).beyond  # a90/95 above the largest
    sizes, found = draw(3, 300)
    assert not fit_pod(sizes, found).beyond


@pytest.mark.parametrize(
    ("sizes", "found", "words"),
    [
        ([1, 2], [1], "give one each"),
        ([[1, 2]], [[1, 0]], "give one each"),
        ([0, 2], [1, 0], "above 0"),
        ([math.nan, 2], [1, 0], "finite"),
        ([1, 2], [1, 2], "0 \\(missed\\) or 1 \\(found\\)"),
    ],
)
def test_what_are_no_trials_is_an_error(sizes, found, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit_pod(sizes, found)
