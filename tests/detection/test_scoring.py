"""Search, scores, maps and thresholds against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.detection.calibration import calibrate, hold_out
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.smoothing import anomaly_map
from fedpatchcore.errors import BankError, ConfigError


def brute(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return np.linalg.norm(queries[:, None].astype(float) - bank[None].astype(float), axis=2)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_search_is_exact_l2_not_squared(offset: float) -> None:
    rng = np.random.default_rng(0)
    bank = (rng.normal(size=(200, 24)) + offset).astype(np.float32)
    queries = (rng.normal(size=(50, 24)) + offset).astype(np.float32)
    distances, rows = NearestNeighbours(bank).search(queries, 5)
    expected = np.sort(brute(queries, bank), axis=1)[:, :5]
    np.testing.assert_allclose(distances, expected, rtol=1e-4)
    np.testing.assert_array_equal(rows[:, 0], brute(queries, bank).argmin(1))


def test_a_bank_row_is_at_distance_nearly_zero_from_itself() -> None:
    bank = (np.random.default_rng(1).normal(size=(60, 8)) + 50).astype(np.float32)
    distances, rows = NearestNeighbours(bank).search(bank)
    assert rows[:, 0].tolist() == list(range(60))
    assert distances.max() < 5e-3


def test_two_searches_do_not_share_state() -> None:
    """Fitting one model must not change another in the same process."""
    a = NearestNeighbours(np.zeros((3, 2), np.float32))
    NearestNeighbours(np.ones((5, 2), np.float32))
    assert len(a) == 3
    assert a.search(np.zeros((1, 2), np.float32))[0][0, 0] == 0


def test_search_refuses_what_does_not_fit() -> None:
    with pytest.raises(BankError, match="shape"):
        NearestNeighbours(np.zeros((0, 4), np.float32))
    with pytest.raises(BankError, match="dimension 4"):
        NearestNeighbours(np.zeros((2, 4), np.float32)).search(np.zeros((1, 5), np.float32))


def test_image_score_is_the_largest_patch_distance() -> None:
    rng = np.random.default_rng(2)
    bank = rng.normal(size=(40, 6)).astype(np.float32)
    features = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
    found = Scorer(bank)(features)
    expected = brute(features.reshape(-1, 6), bank).min(1).reshape(3, 4, 5)
    np.testing.assert_allclose(found.patches, expected, rtol=1e-4)
    np.testing.assert_allclose(found.images, expected.max((1, 2)), rtol=1e-4)


def test_scores_are_absolute() -> None:
    """The same patch has the same score whatever else is in the image."""
    rng = np.random.default_rng(3)
    bank = rng.normal(size=(20, 4)).astype(np.float32)
    quiet, loud = rng.normal(size=(2, 1, 3, 3, 4)).astype(np.float32)
    loud[0, 2, 2] = 500
    loud[0, 0, 0] = quiet[0, 0, 0]
    scorer = Scorer(bank)
    assert scorer(quiet).patches[0, 0, 0] == pytest.approx(scorer(loud).patches[0, 0, 0], rel=1e-4)


def test_several_neighbours_are_averaged() -> None:
    rng = np.random.default_rng(4)
    bank = rng.normal(size=(30, 5)).astype(np.float32)
    features = rng.normal(size=(1, 2, 2, 5)).astype(np.float32)
    expected = np.sort(brute(features.reshape(-1, 5), bank), axis=1)[:, :3].mean(1)
    found = Scorer(bank, neighbours=3)(features).patches.ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_reweighting_is_equation_seven(scale: float) -> None:
    """s = (1 − exp(s*) / Σ_{m ∈ N_b(m*)} exp(‖m_test − m‖)) · s*, without overflow at any scale."""
    rng = np.random.default_rng(5)
    bank = (rng.normal(size=(25, 4)) * scale).astype(np.float32)
    features = (rng.normal(size=(2, 3, 3, 4)) * scale).astype(np.float32)
    found = Scorer(bank, reweight=6)(features).images
    for image, score in zip(features, found, strict=True):
        distances = brute(image.reshape(-1, 4), bank)
        worst = distances.min(1).argmax()
        star = distances[worst].argmin()
        around = np.argsort(brute(bank[star : star + 1], bank)[0])[:6]
        exponents = distances[worst][around]
        top = max(exponents.max(), distances[worst, star])
        weight = 1 - math.exp(distances[worst, star] - top) / np.exp(exponents - top).sum()
        assert score == pytest.approx(weight * distances[worst, star], rel=1e-3)


def test_map_is_bilinear_then_gaussian_of_four_pixels() -> None:
    flat = anomaly_map(np.full((1, 7, 7), 3.0, np.float32), (56, 56))
    np.testing.assert_allclose(flat, 3.0, rtol=1e-5)
    point = np.zeros((1, 28, 28), np.float32)
    point[0, 14, 14] = 1
    found = anomaly_map(point, (224, 224))[0]
    y, x = np.mgrid[:224, :224]
    centre = (found * y).sum() / found.sum(), (found * x).sum() / found.sum()
    assert centre == pytest.approx((115.5, 115.5), abs=0.05)
    variance = (found * (y - centre[0]) ** 2).sum() / found.sum()
    triangle = (2 * 8**2 + 1) / 12 + 0.0  # variance of a bilinear hat of base 2 × 8, sampled
    assert variance == pytest.approx(triangle + 16, rel=0.05)


# -- thresholds -----------------------------------------------------------------------


def test_threshold_is_the_conformal_order_statistic() -> None:
    scores = np.arange(1, 100) / 100  # n = 99
    found = calibrate(scores, 0.05)
    assert found.value == pytest.approx(0.95)  # ceil(100 · 0.95) = 95th
    assert found.promised_fpr == pytest.approx(0.05)
    few = calibrate([3.0, 1.0, 2.0], 0.05)
    assert (few.value, few.promised_fpr, few.images) == (3.0, 0.25, 3)
    none = calibrate([], 0.05)
    assert math.isnan(none.value)
    assert none.promised_fpr == 1.0
    with pytest.raises(ConfigError):
        calibrate([1.0], 0.0)


def test_promise_holds_on_average() -> None:
    """Exchangeable scores: the mean share of new normals above the threshold keeps the promise."""
    rng = np.random.default_rng(6)
    rates = []
    for _ in range(400):
        threshold = calibrate(rng.gamma(2.0, size=30), 0.1)
        rates.append((rng.gamma(2.0, size=500) > threshold.value).mean())
    assert np.mean(rates) <= 0.1 + 0.01
    assert np.mean(rates) == pytest.approx(threshold.promised_fpr, abs=0.015)


@given(st.integers(0, 60), st.floats(0, 0.99), st.integers(0, 99))
def test_hold_out_properties(n: int, share: float, seed: int) -> None:
    keys = [f"k{(i * 7919) % 1000:03d}" for i in range(n)]
    held = hold_out(keys, share, seed=seed)
    assert held.shape == (n,)
    assert n == 0 or held.sum() < n
    if share > 0 and n >= 2:
        assert held.sum() >= 1
        assert held.sum() <= max(1, round(share * n))
    order = np.random.default_rng(seed).permutation(n)
    again = hold_out([keys[i] for i in order], share, seed=seed)
    assert {keys[i] for i in np.flatnonzero(held)} == {
        keys[order[i]] for i in np.flatnonzero(again)
    }


def test_hold_out_keeps_groups_and_twins_together() -> None:
    keys = [f"{i:03d}" for i in range(60)]
    groups = [i // 6 for i in range(60)]
    held = hold_out(keys, 0.2, seed=1, groups=groups)
    for group in range(10):
        assert len({bool(h) for h, g in zip(held, groups, strict=True) if g == group}) == 1
    twins = hold_out(["same", "same", "other"], 0.4, seed=0)
    assert twins[0] == twins[1]
