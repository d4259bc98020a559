"""The metric loss is what its docstring says, and the map neither shrinks nor collapses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import ConfigError, CoresetError
from fedpatchcore.learned.generator import (
    WEIGHT,
    GeneratorObjective,
    MetricLoss,
    orthogonal,
    scaled,
)
from fedpatchcore.learned.local import train_locally
from fedpatchcore.learned.plan import LocalPlan


def cloud(n: int = 300, dimension: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, dimension)).astype(np.float32)


def by_hand(patches, memory, radius: float, k: int, margin: float, push: float) -> float:
    """The formula, one patch and one row at a time."""
    total = 0.0
    for patch in patches:
        d = sorted(float(np.sqrt(((patch - row) ** 2).sum())) for row in memory)
        pull = sum(max(0.0, x * x - radius**2) for x in d[:k])
        apart = sum(max(0.0, ((1 + margin) * radius) ** 2 - x * x) for x in d[k : 2 * k])
        total += (pull + push * apart) / (k * radius**2)
    return total / len(patches)


@pytest.mark.parametrize(("k", "margin", "push"), [(1, 0.0, 1.0), (3, 0.1, 1.0), (2, 1.5, 0.25)])
@pytest.mark.parametrize("radius", [0.4, 1.1, 2.0])
def test_the_loss_is_its_formula(k: int, margin: float, push: float, radius: float) -> None:
    patches, memory = cloud(20), cloud(15, seed=1)
    loss = MetricLoss(neighbours=k, margin=margin, push=push)
    found = loss(torch.from_numpy(patches), torch.from_numpy(memory), radius)
    assert float(found) == pytest.approx(
        by_hand(patches.astype(float), memory.astype(float), radius, k, margin, push), rel=1e-5
    )


def test_values_that_can_be_told_without_a_computer() -> None:
    """One patch at 0, rows at 1 and 3, k = 1: pull beyond r, push within (1 + α) r."""
    patch, memory = torch.zeros(1, 1), torch.tensor([[1.0], [3.0]])
    loss = MetricLoss(neighbours=1, margin=0.5, push=1.0)
    assert float(loss(patch, memory, 1.0)) == 0  # the first on the sphere, the second outside 1.5
    assert float(loss(patch, memory, 0.5)) == pytest.approx((1 - 0.25) / 0.25)
    assert float(loss(patch, memory, 4.0)) == pytest.approx((36 - 9) / 16)


def test_a_memory_of_fewer_rows_than_neighbours_pulls_with_those_it_has() -> None:
    patches = torch.from_numpy(cloud(5))
    only = torch.from_numpy(cloud(1, seed=1))
    loss = MetricLoss(neighbours=3)
    wanted = ((patches - only).square().sum(1) / 0.25 - 1).clamp_min(0).mean()
    assert float(loss(patches, only, 0.5)) == pytest.approx(float(wanted))


def test_the_gradient_reaches_patch_and_row_alike() -> None:
    """The memory is dynamic: the derivative is that of both ends (finite differences)."""
    objective = GeneratorObjective(
        cloud(40).astype(np.float64), cloud(30, seed=1), width=5, guard=0.7, quantile=0.3
    )
    start = torch.from_numpy(objective.start(3)[WEIGHT]).requires_grad_()
    index = torch.arange(40)
    objective.loss({WEIGHT: start}, index).backward()
    way = torch.from_numpy(np.random.default_rng(5).standard_normal(start.shape)).float()
    way -= (way * start.detach()).sum() / start.detach().square().sum() * start.detach()
    step = 1e-3
    with torch.no_grad():
        ahead = objective.loss({WEIGHT: start + step * way}, index)
        behind = objective.loss({WEIGHT: start - step * way}, index)
    slope = float((ahead - behind) / (2 * step))
    assert float((start.grad * way).sum()) == pytest.approx(slope, rel=0.03)


def test_shrinking_gains_nothing() -> None:
    objective = GeneratorObjective(cloud(), cloud(50, seed=1))
    weight = torch.from_numpy(objective.start(0)[WEIGHT])
    index = torch.arange(300)
    whole = float(objective.loss({WEIGHT: weight}, index))
    assert whole > 0
    for factor in (1e-3, 0.5, 20.0):
        assert float(objective.loss({WEIGHT: factor * weight}, index)) == pytest.approx(
            whole, rel=1e-4
        )
    assert torch.linalg.matrix_norm(scaled(7 * weight)).item() == pytest.approx(6**0.5, rel=1e-5)


def descend(objective: GeneratorObjective, steps: int, rate: float) -> np.ndarray:
    weight = torch.from_numpy(objective.start(1)[WEIGHT]).requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(
            objective.loss({WEIGHT: weight}, torch.arange(objective.examples)), weight
        )
        weight = (weight - rate * slope).detach().requires_grad_()
    return objective.metric({WEIGHT: weight.detach().numpy()})


def test_the_guard_keeps_every_direction() -> None:
    """Without it the map gives up directions; a heavy one keeps it where it started."""
    given = {"features": cloud(200), "memory": cloud(20, seed=1), "width": 6, "quantile": 0.05}
    free = np.linalg.svd(descend(GeneratorObjective(**given, guard=0), 300, 0.2))[1]
    held = np.linalg.svd(descend(GeneratorObjective(**given, guard=200), 300, 0.005))[1]
    assert free.min() < 0.6
    assert held.min() > 0.95 and held.max() < 1.05


def test_the_guard_is_nothing_for_orthonormal_columns_and_infinite_for_a_lost_one() -> None:
    given = {"features": cloud(), "memory": cloud(20, seed=1), "width": 4}
    one, other = GeneratorObjective(**given, guard=0), GeneratorObjective(**given, guard=3)
    weight = one.start(0)[WEIGHT]
    values = []
    for factors in ([1, 1, 1, 1], [2, 1, 1, 0.5], [1, 1, 1, 0]):
        held = {WEIGHT: torch.from_numpy(weight * np.float32(factors))}
        both = (float(objective.loss(held, torch.arange(9))) for objective in (one, other))
        values.append(-np.subtract(*both))
    assert values[0] == pytest.approx(0, abs=1e-4)
    # trace 6.25 is brought to 4: ln det = ln(4 · 0.25) + 4 ln(4 / 6.25)
    assert values[1] == pytest.approx(-3 * np.log(4 / 6.25), rel=1e-3)
    assert values[2] > 10 or not np.isfinite(values[2])


@pytest.mark.long
def test_where_every_row_pulls_it_ends_at_whitened_residuals() -> None:
    """1/a_i = d/(guard · r²) · (s_i + ν): one ν for all directions, whatever the start."""
    x = cloud(500, 5) * np.float32([3, 2, 1, 0.5, 0.25])
    row = x.mean(0, keepdims=True)
    objective = GeneratorObjective(
        x, row, width=5, loss=MetricLoss(neighbours=1, push=0), quantile=1e-9, guard=500
    )
    objective.radius = radius = 0.05
    apart = (x - row).astype(float)
    found = descend(objective, 3000, 3e-4).astype(float)
    s, directions = np.linalg.eigh(apart.T @ apart / len(x))
    a = directions.T @ found @ found.T @ directions
    np.testing.assert_allclose(a, np.diag(np.diagonal(a)), atol=0.02)
    ridge = 500 * radius**2 / 5 / np.diagonal(a) - s
    assert np.ptp(ridge) < 0.02 * s.max()
    assert np.diagonal(a)[0] > 2 * np.diagonal(a)[-1]


def test_learning_brings_normal_patches_closer_to_their_memory() -> None:
    objective = GeneratorObjective(cloud(), cloud(20, seed=1), width=6)
    index = torch.arange(300)
    before = objective.start(1)
    after = {WEIGHT: descend(objective, 100, 0.05)}
    one, other = (
        float(objective.loss({k: torch.from_numpy(v) for k, v in p.items()}, index))
        for p in (before, after)
    )
    assert other < 0.9 * one


def test_the_radius_is_the_quantile_of_backbone_distances_shortened_as_a_random_map_does() -> None:
    features, memory = cloud(400), cloud(30, seed=1)
    third = np.sort(np.linalg.norm(features[:, None] - memory, axis=2), axis=1)[:, 2]
    for quantile, width in ((0.5, 6), (0.9, 3)):
        loss = MetricLoss(neighbours=3)
        objective = GeneratorObjective(features, memory, width=width, loss=loss, quantile=quantile)
        wanted = np.quantile(third, quantile) * (width / 12) ** 0.5
        assert objective.radius == pytest.approx(wanted, rel=1e-4)
    squares = [
        np.square((features - memory[0]) @ orthogonal(12, 6, seed)).sum(1) for seed in range(200)
    ]
    plain = np.square(features - memory[0]).sum(1)
    assert np.mean(squares) == pytest.approx(plain.mean() / 2, rel=0.05)


def test_the_start_is_orthonormal_and_the_seeds_alone() -> None:
    one, again, other = (orthogonal(20, 8, seed) for seed in (4, 4, 5))
    assert one.dtype == np.float32 and one.shape == (20, 8)
    np.testing.assert_allclose(one.T @ one, np.eye(8), atol=1e-6)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_images_as_examples_are_their_patches() -> None:
    features = cloud(60)
    flat = GeneratorObjective(features, cloud(10, seed=1))
    images = GeneratorObjective(features.reshape(6, 10, 12), cloud(10, seed=1))
    weight = {WEIGHT: torch.from_numpy(flat.start(0)[WEIGHT])}
    assert (flat.examples, images.examples) == (60, 6)
    assert images.radius == pytest.approx(flat.radius)
    one = images.loss(weight, torch.tensor([2, 5]))
    other = flat.loss(weight, torch.cat([torch.arange(20, 30), torch.arange(50, 60)]))
    assert float(one) == pytest.approx(float(other), rel=1e-5)


def test_a_generator_is_the_metric_of_a_section() -> None:
    """What is learned is what a bank scores by."""
    objective = GeneratorObjective(cloud(), cloud(40, seed=1))
    metric = objective.metric({WEIGHT: 3 * objective.start(0)[WEIGHT]})
    memory, tests = cloud(40, seed=1), cloud(8, seed=2)
    found = Scorer(memory, metric=metric)(tests.reshape(1, 2, 4, 12)).patches.ravel()
    wanted = np.linalg.norm((tests[:, None] - memory) @ metric.astype(float), axis=2).min(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_what_cannot_be_learned_from_is_told() -> None:
    with pytest.raises(ConfigError, match="1 to 12 outputs"):
        orthogonal(12, 13, 0)
    with pytest.raises(CoresetError, match=r"learns from \[N, 12\]"):
        GeneratorObjective(cloud(dimension=11), cloud())
    with pytest.raises(CoresetError, match="learns by a memory"):
        GeneratorObjective(cloud(), cloud()[:0])


def test_a_site_whose_patches_are_its_memory_learns_with_a_radius_that_is_one() -> None:
    """One image, and a fifth of its patches are the rows: their distance, 0, is no radius."""
    rng = np.random.default_rng(3)
    patches = rng.standard_normal((1, 100, 12)).astype(np.float32)
    made = GeneratorObjective(patches, patches[0, :20], width=6, quantile=0.1)
    apart = np.linalg.norm(patches[0, 20:, None] - patches[0, None, :20], axis=2).min(1)
    assert made.radius == pytest.approx(np.quantile(apart, 0.1) * 0.5**0.5, rel=1e-3)
    y = train_locally(made, made.start(0), LocalPlan(3, 1, 1.0), seed=0).parameters
    assert np.linalg.norm(GeneratorObjective.metric(y)) == pytest.approx(6**0.5, rel=1e-5)
    assert np.abs(y[WEIGHT]).max() < 10
