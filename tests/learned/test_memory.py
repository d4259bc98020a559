"""Reduced memories: what is averaged, what it weighs, and that nobody's order counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.errors import CoresetError
from fedpatchcore.learned import memory as module
from fedpatchcore.learned.memory import Memory, global_memory, reduce_memory


def cloud(n: int, dimension: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dimension)).astype(np.float32)


def by_hand(x: np.ndarray, size: int, temperature: float, seed: int) -> Memory:
    """The docstring's formula in float64, one patch at a time."""
    anchors = x[greedy_k_center(x, size, seed=seed).indices].astype(float)
    squares = [((row - anchors) ** 2).sum(1) for row in x.astype(float)]
    h2 = np.mean([s.min() for s in squares])
    share = np.array([np.exp(-s / (temperature * h2)) / np.exp(-s / (temperature * h2)).sum()
                      for s in squares])  # fmt: skip
    weights = share.sum(0)
    return Memory((share.T @ x / weights[:, None]).astype(np.float32), weights)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 30.0])
def test_reduced_rows_are_the_weighted_averages(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATCHES_AT_ONCE", 64)  # 300 patches: blocks and a rest
    x = cloud(300)
    found, wanted = (
        reduce_memory(x, 12, seed=3, temperature=temperature),
        by_hand(x, 12, temperature, 3),
    )
    np.testing.assert_allclose(found.rows, wanted.rows, atol=1e-4)
    np.testing.assert_allclose(found.weights, wanted.weights, rtol=1e-4)


@given(
    n=st.integers(1, 200),
    size=st.integers(1, 30),
    temperature=st.sampled_from([0.0, 1e-3, 0.1, 1.0, 100.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_weights_add_up_to_the_patches_and_the_mean_stays(n, size, temperature, scale, seed):
    x = scale * cloud(n, seed=seed)
    found = reduce_memory(x, size, seed=seed, temperature=temperature)
    assert 1 <= len(found) <= min(n, size)
    assert found.rows.dtype == np.float32 and found.weights.dtype == np.float64
    assert (found.weights > 0).all()
    assert found.weights.sum() == pytest.approx(n, rel=1e-6)
    kept = (found.rows * found.weights[:, None]).sum(0) / n
    np.testing.assert_allclose(kept, x.mean(0, dtype=float), atol=1e-4 * scale)


def test_without_temperature_each_patch_goes_to_its_nearest_anchor() -> None:
    x = np.array([[0, 0], [0, 1], [10, 0], [10, 3], [10, 6]], np.float32)
    found = reduce_memory(x, 2, temperature=0)
    order = np.argsort(found.weights)
    np.testing.assert_allclose(found.weights[order], [2, 3])
    np.testing.assert_allclose(found.rows[order], [[0, 0.5], [10, 3]])


def test_a_high_temperature_makes_all_rows_the_mean() -> None:
    x = cloud(100)
    found = reduce_memory(x, 5, temperature=1e9)
    np.testing.assert_allclose(found.rows, np.tile(x.mean(0), (5, 1)), atol=1e-5)


def test_a_scale_of_the_features_changes_nothing_else() -> None:
    x = cloud(200)
    one, other = (reduce_memory(f * x, 9, seed=1, temperature=0.3) for f in (1.0, 512.0))
    np.testing.assert_allclose(512 * one.rows, other.rows, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-3)


def test_a_generator_says_what_is_alike_and_rows_stay_in_backbone_space() -> None:
    """The second coordinate tells groups apart, the first is noise that the map leaves out."""
    rng = np.random.default_rng(0)
    x = np.stack([100 * rng.standard_normal(60), np.repeat([0.0, 5.0], 30)], 1).astype(np.float32)
    blind = np.array([[0.0], [1.0]], np.float32)
    found = reduce_memory(x, 2, temperature=0.01, metric=blind)
    assert found.rows.shape == (2, 2)
    np.testing.assert_allclose(np.sort(found.rows[:, 1]), [0, 5], atol=1e-5)
    np.testing.assert_allclose(found.weights, [30, 30])


def sites(seed: int, count: int = 4) -> list[Memory]:
    rng = np.random.default_rng(seed)
    return [Memory(cloud(25, seed=seed + at), rng.uniform(0.5, 90, 25)) for at in range(count)]


@given(seed=st.integers(0, 50), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_sites_and_rows_changes_no_bit(seed: int, order: list[int]) -> None:
    given_ = sites(seed)
    rng = np.random.default_rng(seed)
    mixed = []
    for at in order:
        rows = rng.permutation(25)
        mixed.append(Memory(given_[at].rows[rows], given_[at].weights[rows]))
    one, other = global_memory(given_, 10, seed=seed), global_memory(mixed, 10, seed=seed)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.weights, other.weights)


def test_equal_rows_of_several_sites_weigh_the_same_in_any_order() -> None:
    """0.1 + 0.2 + 0.3 depends on the order in floating point; the memory does not."""
    rows = cloud(12)
    given_ = [Memory(rows, np.full(12, w)) for w in (0.1, 0.2, 0.3)]
    one = global_memory(given_, 20)
    assert len(one) == 12
    for other in (global_memory(given_[::-1], 20), global_memory(given_[1:] + given_[:1], 20)):
        np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(
        global_memory(given_, 5).rows, global_memory(given_[::-1], 5).rows
    )


def test_the_global_memory_keeps_weight_and_mean() -> None:
    given_ = sites(7)
    found = global_memory(given_, 10)
    weights = np.concatenate([m.weights for m in given_])
    rows = np.concatenate([m.rows for m in given_])
    assert len(found) == 10
    assert found.weights.sum() == pytest.approx(weights.sum())
    np.testing.assert_allclose(
        (found.rows * found.weights[:, None]).sum(0), (rows * weights[:, None]).sum(0), rtol=1e-4
    )


def test_weights_count() -> None:
    """Two rows near each other, one of a thousand patches: the mean is where the patches are."""
    far = np.array([[100.0, 0.0]], np.float32)
    near = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)
    found = global_memory([Memory(near, np.array([1.0, 999.0])), Memory(far, np.array([5.0]))], 2)
    order = np.argsort(found.rows[:, 0])
    np.testing.assert_allclose(found.rows[order], [[0.999, 0], [100, 0]], rtol=1e-5)
    np.testing.assert_allclose(found.weights[order], [1000, 5])


def test_k_means_is_that_of_the_weighted_rows() -> None:
    """No row is nearer to another centre than its own: a fixed point of weighted K-means."""
    given_ = sites(11)
    found = global_memory(given_, 8)
    rows = np.concatenate([m.rows for m in given_]).astype(float)
    weights = np.concatenate([m.weights for m in given_])
    cells = ((rows[:, None] - found.rows) ** 2).sum(2).argmin(1)
    for at in range(8):
        mine = cells == at
        centre = np.average(rows[mine], axis=0, weights=weights[mine])
        np.testing.assert_allclose(found.rows[at], centre, atol=1e-3)


def test_few_rows_are_the_memory_themselves_and_equal_ones_are_one() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    found = global_memory([Memory(rows, np.array([1.0, 2.0, 4.0]))], 5)
    order = np.argsort(found.weights)
    np.testing.assert_array_equal(found.rows[order], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(found.weights[order], [2, 5])


@pytest.mark.parametrize(
    ("memories", "size", "reason"),
    [
        ([], 3, "no site gave rows"),
        ([Memory(cloud(0), np.ones(0))], 3, "no site gave rows"),
        ([Memory(cloud(3), np.ones(3))], 0, "at least 1 row"),
        ([Memory(cloud(3), np.ones(2))], 2, "one positive weight a row"),
        ([Memory(cloud(3), np.array([1, 0, 1.0]))], 2, "one positive weight a row"),
        ([Memory(cloud(3), np.array([1, np.nan, 1]))], 2, "one positive weight a row"),
        ([Memory(cloud(3), np.ones(3)), Memory(cloud(3, 5), np.ones(3))], 2, "different lengths"),
    ],
)
def test_what_makes_no_memory_is_told(memories, size: int, reason: str) -> None:
    with pytest.raises(CoresetError, match=reason):
        global_memory(memories, size)
