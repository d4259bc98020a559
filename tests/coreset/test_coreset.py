"""Greedy k-center against the textbook loop in float64, on friendly and hostile inputs."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.coreset import distances
from fedpatchcore.coreset.greedy import greedy_k_center, random_coreset
from fedpatchcore.coreset.pairs import squared_distances
from fedpatchcore.coreset.sketch import Sketch
from fedpatchcore.errors import CoresetError
from tests.support.clouds import KINDS, cloud, small_blocks, textbook


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(2, 500),
    size=st.integers(1, 500),
    seed=st.integers(0, 2**32 - 1),
    rounds=st.booleans(),
)
def test_every_pick_is_a_farthest_point(
    kind: str, n: int, size: int, seed: int, rounds: bool
) -> None:
    """Exactness without depending on ties: each pick is as far as the farthest, up to rounding."""
    x = cloud(kind, n, np.random.default_rng(seed)).astype(np.float32)
    with small_blocks(by_rounds=rounds):
        found = greedy_k_center(x, size, seed=seed)
    exact = x.astype(np.float64)
    assert len(set(found.indices)) == len(found.indices)
    distance = np.full(n, np.inf)
    for at, pick in enumerate(found.indices):
        if at:
            assert distance[pick] == pytest.approx(distance.max(), rel=1e-5)
            assert distance[pick] > 0
        distance = np.minimum(distance, np.linalg.norm(exact - exact[pick], axis=1))
        assert found.radii[at] == pytest.approx(distance.max(), rel=1e-5)
    assert found.radius == pytest.approx(distance.max(), rel=1e-5)
    if len(found.indices) < min(size, n):
        assert distance.max() == 0  # stopped early only because all else are duplicates


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(2, 300),
    width=st.integers(1, 40),
    precision=st.sampled_from(["highest", "high", "medium"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_sketch_never_overstates_a_distance_nor_understates_that_to_one_row(
    kind: str, n: int, width: int, precision: str, seed: int
) -> None:
    x = cloud(kind, n, np.random.default_rng(seed)).astype(np.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        rows = torch.from_numpy(x)
        parts = Sketch(rows, min(width, x.shape[1]), seed)(rows, rows[n // 2])
        told = [(z.clone(), low, high) for _, z, low, high in parts]
        z, low, high = (torch.cat(kind) for kind in zip(*told, strict=True))
        assert (z[:, -1] == 1).all()
        bounds = (low[:, None] + low[None] - 2 * z[:, :-1] @ z[:, :-1].T).numpy()
    finally:
        torch.set_float32_matmul_precision(before)
    exact = x.astype(np.float64)
    truth = np.square(exact[:, None] - exact[None]).sum(2)
    assert (bounds <= truth).all()
    assert (high.numpy() >= truth[n // 2]).all()


@pytest.mark.parametrize("rounds", [False, True])
def test_lazy_small_blocks_and_one_big_one_pick_the_same(rounds: bool) -> None:
    x = cloud("relu", 2000, np.random.default_rng(8)).astype(np.float32)
    plain = greedy_k_center(x, 200, seed=2)
    with small_blocks(by_rounds=rounds):
        lazy = greedy_k_center(x, 200, seed=2)
    assert lazy.indices.tolist() == plain.indices.tolist()
    np.testing.assert_allclose(lazy.radii, plain.radii, rtol=1e-6)


def test_float16_features_are_taken_as_they_are() -> None:
    x = cloud("relu", 3000, np.random.default_rng(4)).astype(np.float16)
    half, full = greedy_k_center(x, 100), greedy_k_center(x.astype(np.float32), 100)
    assert half.indices.tolist() == full.indices.tolist()
    assert half.radius == full.radius


def test_a_file_of_features_is_not_read_into_memory_twice(tmp_path) -> None:
    x = cloud("gauss", 2000, np.random.default_rng(4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert greedy_k_center(there, 50).indices.tolist() == greedy_k_center(x, 50).indices.tolist()


@pytest.mark.parametrize("away", [1e6, -1e10])
def test_float64_features_far_from_the_origin_keep_the_digits_that_tell_them_apart(
    away: float,
) -> None:
    """There, float32 numbers are 0.06 or 1,024 apart."""
    rng = np.random.default_rng(6)
    near, known = cloud("gauss", 3000, rng), cloud("gauss", 20, rng)
    far = near + away
    here, there = greedy_k_center(near, 40), greedy_k_center(far, 40)
    assert there.indices.tolist() == here.indices.tolist()
    np.testing.assert_allclose(there.radii, here.radii, rtol=1e-5)
    beside = greedy_k_center(far, 40, centres=known + away)
    assert beside.indices.tolist() == greedy_k_center(near, 40, centres=known).indices.tolist()
    assert random_coreset(far, 40).radius == pytest.approx(random_coreset(near, 40).radius, 1e-5)


def test_float32_features_far_from_the_origin_are_bounded_tightly() -> None:
    """Few distances are computed in full: rows are centred where that tells them apart."""
    x = cloud("relu", 3000, np.random.default_rng(6)).astype(np.float32)
    counted = []

    def counting(x, at, y, to):
        counted.append(len(at))
        return squared_distances(x, at, y, to)

    with patch.object(distances, "squared_distances", counting):
        greedy_k_center(x, 100)
        near, counted = sum(counted), []
        far = greedy_k_center(x + np.float32(500), 100)
    assert far.radius == pytest.approx(greedy_k_center(x, 100).radius, rel=1e-4)
    assert sum(counted) < 2 * near < 3000 * 100 / 2


@pytest.mark.parametrize("kind", ["gauss", "relu", "far"])
def test_same_picks_as_the_textbook_loop(kind: str) -> None:
    x = cloud(kind, 6000, np.random.default_rng(3)).astype(np.float32)
    found = greedy_k_center(x, 250, seed=5)
    expected, radius = textbook(x, 250, int(found.indices[0]))
    assert found.indices[:60].tolist() == expected[:60]  # later, near ties may swap
    assert len(set(found.indices) & set(expected)) > 200
    assert found.radius == pytest.approx(radius, rel=1e-5)


def test_seed_decides_the_first_pick_and_repeats() -> None:
    x = cloud("gauss", 500, np.random.default_rng(0)).astype(np.float32)
    first = greedy_k_center(x, 20, seed=1)
    assert first.indices.tolist() == greedy_k_center(x, 20, seed=1).indices.tolist()
    assert first.indices[0] == np.random.default_rng(1).integers(500)
    assert first.indices[0] != greedy_k_center(x, 20, seed=2).indices[0]


def test_k_equal_to_n_takes_every_distinct_row_once() -> None:
    x = np.repeat(np.eye(7, dtype=np.float32), 3, axis=0)
    found = greedy_k_center(x, 21)
    assert len(found.indices) == 7
    assert found.radius == 0


def test_a_prefix_is_the_smaller_coreset() -> None:
    x = cloud("relu", 3000, np.random.default_rng(1)).astype(np.float32)
    long, short = greedy_k_center(x, 200), greedy_k_center(x, 50)
    assert long.indices[:50].tolist() == short.indices.tolist()
    assert long.radii[49] == pytest.approx(short.radius, rel=1e-5)


def test_centres_and_radii_that_float32_cannot_compare_are_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    centres = rows[:4].copy()
    centres[2] *= np.float32(1e25)
    with pytest.raises(CoresetError, match="too large"):
        greedy_k_center(rows, 10, centres=centres)
    with pytest.raises(CoresetError, match="below 1e"):
        greedy_k_center(rows, 10, stop_radius=1e200)


def test_given_centres_are_not_covered_again() -> None:
    rng = np.random.default_rng(2)
    known = rng.normal(size=(40, 6)).astype(np.float32)
    new = np.concatenate([known + 1e-3, rng.normal(size=(30, 6)).astype(np.float32) + 20])
    found = greedy_k_center(new, 10, centres=known)
    assert (found.indices >= 40).all()
    stopped = greedy_k_center(new, 70, centres=known, stop_radius=found.radius)
    assert stopped.indices.tolist() == found.indices.tolist()
    nothing = greedy_k_center(known, 10, centres=known)
    assert len(nothing.indices) == 0
    assert nothing.radius == 0


def test_the_callers_features_are_left_alone() -> None:
    x = cloud("far", 300, np.random.default_rng(0)).astype(np.float32)
    before = x.copy()
    greedy_k_center(x, 20)
    assert np.array_equal(x, before)


def test_progress_reaches_the_end() -> None:
    seen = []
    greedy_k_center(
        cloud("gauss", 300, np.random.default_rng(0)).astype(np.float32),
        130,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (130, 130)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_random_coreset_is_uniform_seeded_and_measured() -> None:
    x = cloud("gauss", 400, np.random.default_rng(0)).astype(np.float32)
    found = random_coreset(x, 50, seed=4)
    assert len(set(found.indices)) == 50
    assert found.indices[:20].tolist() == random_coreset(x, 20, seed=4).indices.tolist()
    away = np.linalg.norm(x[:, None].astype(float) - x[found.indices], axis=2).min(1)
    assert found.radius == pytest.approx(away.max(), rel=1e-5)
    assert found.radius > greedy_k_center(x, 50).radius


@pytest.mark.parametrize(
    ("x", "size", "words"),
    [
        (np.zeros((0, 4), np.float32), 3, "non-empty"),
        (np.zeros((4,), np.float32), 3, "matrix"),
        (np.array([[1.0, np.nan]], np.float32), 1, "NaN"),
        (np.array([[1.0, np.inf]], np.float32), 1, "infinite"),
        (np.array([[0.0]] * 4000 + [[np.nan]], np.float32), 1, "NaN"),
        (np.array([[0.0], [1.0], [3e19]], np.float32), 1, "too large"),
        (np.ones((3, 2), np.float32), 0, "at least 1"),
    ],
)
def test_bad_input_is_refused(x: np.ndarray, size: int, words: str) -> None:
    for choose in (greedy_k_center, random_coreset):
        with pytest.raises(CoresetError, match=words):
            choose(x, size)
