"""The accelerator's way to the picks, on a CPU: the picks of the textbook loop, and its limits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.coreset import bounds as bounds_module
from fedpatchcore.coreset import greedy, rounds
from fedpatchcore.coreset.bounds import Bounds
from fedpatchcore.coreset.greedy import greedy_k_center, random_coreset
from fedpatchcore.devices.memory import OutOfMemory
from fedpatchcore.errors import CoresetError
from tests.support.clouds import KINDS, cloud, small_blocks, textbook
from tests.support.tensorcores import cut_to_tf32

CPU = torch.device("cpu")


@pytest.fixture
def tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products as a GPU may make them where it is allowed to: factors cut, not rounded."""
    allowed = []

    @contextmanager
    def allowing(device: torch.device) -> Iterator[None]:
        allowed.append(True)
        yield
        allowed.pop()

    def product(bias, x, y, *, alpha, real=torch.addmm):
        if allowed:
            x, y = cut_to_tf32(x), cut_to_tf32(y)
        return real(bias, x, y, alpha=alpha)

    monkeypatch.setattr(bounds_module, "tf32", allowing)
    monkeypatch.setattr(torch, "addmm", product)


@pytest.fixture
def by_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "_by_rounds", lambda device: True)


@pytest.mark.parametrize("kind", ["gauss", "relu", "clusters", "far", "huge"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_picks_and_radii_are_those_of_the_cpu(kind: str, dtype: type, tensor_cores: None) -> None:
    x = cloud(kind, 2500, np.random.default_rng(3)).astype(np.float32)
    x = (x / np.abs(x).max() * 100).astype(dtype)  # within float16
    by_one = greedy_k_center(x, 100, seed=4)
    with patch.object(greedy, "_by_rounds", lambda device: True):
        by_many = greedy_k_center(x, 100, seed=4)
    same = np.asarray(by_one.indices) == np.asarray(by_many.indices)
    if dtype is np.float32 and kind in ("gauss", "relu"):
        assert same.all()
    np.testing.assert_allclose(by_many.radii, by_one.radii, rtol=2e-5)
    assert by_many.radius == pytest.approx(by_one.radius, rel=2e-5)


@given(st.integers(2, 300), st.integers(1, 60), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_of_equally_far_rows_the_first_is_picked(n: int, size: int, d: int, seed: int) -> None:
    """On a grid of whole numbers all distances are exact and most are tied."""
    x = np.random.default_rng(seed).integers(-4, 5, size=(n, d)).astype(np.float32)
    with small_blocks(by_rounds=True):
        found = greedy_k_center(x, size, seed=seed)
    expected, radius = textbook(x, min(size, n), int(found.indices[0]))
    assert found.indices.tolist() == expected
    assert found.radius == pytest.approx(radius, rel=1e-7)


def test_all_rows_are_read_a_few_times_for_many_picks() -> None:
    x = torch.from_numpy(cloud("relu", 10_000, np.random.default_rng(1)).astype(np.float32))
    found = rounds.pick_in_rounds(x, 199, CPU, first=torch.tensor([7]))
    moved = found.bounds.moved
    assert len(found.at) == 199
    assert moved.rounds < 15
    assert moved.measured < 2 * len(x)


def test_rows_too_near_for_float32_are_bounded_in_float64() -> None:
    """Else each round would find that its rows are not the farthest after all."""
    x = cloud("clusters", 8000, np.random.default_rng(1)).astype(np.float32)
    with patch.object(rounds, "ACTIVE", 100):
        found = rounds.pick_in_rounds(torch.from_numpy(x), 99, CPU, first=torch.tensor([7]))
    expected, radius = textbook(x, 100, 7)
    assert found.bounds.sharp and found.bounds.moved.rounds < 40
    assert [7, *found.at] == expected
    assert found.farthest**0.5 == pytest.approx(radius, rel=1e-6)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_never_too_low_and_sure_ones_are_true(
    kind: str, level: int, tensor_cores: None
) -> None:
    x = cloud(kind, 400, np.random.default_rng(2)).astype(np.float32)
    rows = torch.from_numpy(x)
    bounds = Bounds(rows, CPU, 60, 97)
    chosen = torch.arange(0, 400, 7)
    bounds.add(bounds.taken(chosen[:20]))
    every = torch.arange(400)
    bounds.bound[:200] = bounds.exact(bounds.taken(every[:200]))
    bounds.sure[:200] = True
    for _ in range(level):
        bounds.sharpen()
    bounds.add(bounds.taken(chosen[20:]))
    exact = x.astype(np.float64)
    truth = np.square(exact[:, None] - exact[chosen.numpy()]).sum(2).min(1)
    assert (bounds.bound.numpy() >= truth * (1 - 1e-6)).all()
    sure = bounds.sure.numpy()
    assert not sure[200:].any()
    assert sure.any() or not (level == 2 or kind in ("gauss", "relu"))
    if level == 2 and kind != "huge":
        assert (bounds.bound.numpy() <= truth * (1 + 1e-5) + 1e-9).all()
    np.testing.assert_allclose(bounds.bound.numpy()[sure], truth[sure], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(
        bounds.exact(bounds.taken(every)).numpy(), truth, rtol=1e-6, atol=1e-12
    )
    table = bounds.pairwise(bounds.taken(every[:150])).numpy()
    pairs = np.square(exact[:150, None] - exact[:150]).sum(2)
    np.testing.assert_allclose(table, pairs, rtol=1e-6, atol=1e-12)
    assert (np.diag(table) == 0).all()


def test_the_plan_keeps_within_the_memory_there_is() -> None:
    rows = torch.empty(100_000, 256)
    card = torch.device("cuda", 0)
    whole = rows.numel() * 4
    for free in (2e9, 4e8, 1.6e8, 6e7):
        how = rounds.plan(rows, 1000, card, int(free))
        assert how.needed <= rounds.SHARE * free
        assert how.on_device == (free > 1.5 * whole)
    assert rounds.plan(rows, 1000, card, 10**12) == rounds.plan(rows, 1000, card, 10**11)
    with pytest.raises(CoresetError, match="use device='cpu', or a memory-budget"):
        rounds.plan(rows, 1000, card, int(1e7))


@pytest.mark.parametrize("most", [1, 50, 3000])
def test_out_of_memory_makes_smaller_blocks_of_it(
    most: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by_rounds: None
) -> None:
    x = cloud("relu", 900, np.random.default_rng(5)).astype(np.float32)
    expected = greedy_k_center(x, 40)
    real = torch.addmm

    def poor(bias, rows, *more, **how):
        if len(rows) > most:
            raise OutOfMemory("CUDA out of memory")
        return real(bias, rows, *more, **how)

    monkeypatch.setattr(torch, "addmm", poor)
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        found = greedy_k_center(x, 40)
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_array_equal(found.radii, expected.radii)
    assert ("out of memory on the device, going on with" in caplog.text) == (most < 900)


def test_a_device_without_any_memory_says_so(monkeypatch, by_rounds: None) -> None:
    def none(*_, **__):
        raise OutOfMemory("CUDA out of memory")

    monkeypatch.setattr(torch, "addmm", none)
    with pytest.raises(CoresetError, match="cpu has less memory than it said .*: use device='cpu'"):
        greedy_k_center(np.eye(5, dtype=np.float32), 2)


def test_a_table_without_room_begins_anew_with_fewer_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by_rounds: None
) -> None:
    x = cloud("relu", 900, np.random.default_rng(5)).astype(np.float32)
    expected = greedy_k_center(x, 40)
    real = Bounds.pairwise

    def poor(self, rows):
        if len(rows) > 300:
            raise OutOfMemory("CUDA out of memory")
        return real(self, rows)

    monkeypatch.setattr(Bounds, "pairwise", poor)
    found = greedy_k_center(x, 40)
    assert found.indices.tolist() == expected.indices.tolist()
    assert "k-center: out of memory on cpu, begun anew in smaller blocks" in caplog.text


def test_given_centres_random_rows_and_stops(by_rounds: None) -> None:
    rng = np.random.default_rng(2)
    known = rng.normal(size=(40, 6)).astype(np.float32)
    new = np.concatenate([known + 1e-3, rng.normal(size=(30, 6)).astype(np.float32) + 20])
    found = greedy_k_center(new, 10, centres=known)
    assert (found.indices >= 40).all()
    stopped = greedy_k_center(new, 70, centres=known, stop_radius=found.radius)
    assert stopped.indices.tolist() == found.indices.tolist()
    nothing = greedy_k_center(known, 10, centres=known)
    assert len(nothing.indices) == 0 and nothing.radius == 0
    some = random_coreset(new, 20, seed=3)
    away = np.linalg.norm(new[:, None].astype(float) - new[some.indices], axis=2).min(1)
    assert some.radius == pytest.approx(away.max(), rel=1e-6)
    seen: list[tuple[int, int]] = []
    greedy_k_center(new, 30, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    with pytest.raises(CoresetError, match="too large"):
        greedy_k_center(new, 10, centres=known * np.float32(1e25))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e19])
def test_bad_rows_are_refused(bad: float, by_rounds: None) -> None:
    x = np.zeros((5000, 2), np.float32)
    x[4321, 1] = bad
    for choose in (greedy_k_center, random_coreset):
        with pytest.raises(CoresetError, match="NaN|infinite|too large"):
            choose(x, 1)


def test_many_pairs_at_one_distance_are_measured_in_blocks(monkeypatch) -> None:
    monkeypatch.setattr(bounds_module, "PAIRS", 10)
    x = torch.eye(60)
    bounds = Bounds(x, CPU, 60, 60)
    bounds.add(bounds.taken(torch.arange(30)))
    assert bounds.exact(bounds.taken(torch.arange(60))).tolist() == [0.0] * 30 + [2.0] * 30
