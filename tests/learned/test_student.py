"""The student: its sizes, its loss by an independent computation, what it sees, what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpatchcore.detection.student import (
    flattened,
    student_scores,
    student_shapes,
    unflattened,
)
from fedpatchcore.errors import BankError, ConfigError, CoresetError
from fedpatchcore.learned.student import StudentObjective, student_start

SPLIT, DIMENSION, WIDTH = 3, 8, 16


def maps(count: int = 4, side: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((count, side, side, DIMENSION)).astype(np.float32)


def start(seed: int = 0) -> dict[str, np.ndarray]:
    return student_start(SPLIT, DIMENSION, width=WIDTH, seed=seed)


def tensors(parameters: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(one) for name, one in parameters.items()}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(parameters: dict[str, np.ndarray], image: np.ndarray, row: int, column: int) -> float:
    """The score of one patch in float64: the nine patches around, the rim repeated beyond."""
    p = {name: one.astype(float) for name, one in parameters.items()}
    side = len(image)
    hidden = p["student.0.bias"].copy()
    for i in range(3):
        for j in range(3):
            at = np.clip(row + i - 1, 0, side - 1), np.clip(column + j - 1, 0, side - 1)
            read = unit(image[at][:SPLIT].astype(float)) * SPLIT**0.5
            hidden += p["student.0.weight"][:, :, i, j] @ read
    for name in ("student.1", "student.2"):
        hidden = p[f"{name}.weight"][:, :, 0, 0] @ np.maximum(hidden, 0) + p[f"{name}.bias"]
    told = unit(image[row, column, SPLIT:].astype(float))
    return float(np.linalg.norm(told - unit(hidden)))


def test_scores_and_loss_are_their_formula() -> None:
    given, images = start(3), maps()
    rng = np.random.default_rng(1)
    for name in given:
        if name.endswith("bias"):
            given[name] = rng.standard_normal(given[name].shape).astype(np.float32)
    found = student_scores(given, images)
    wanted = [[[by_hand(given, one, i, j) for j in range(5)] for i in range(5)] for one in images]
    assert found.dtype == np.float32 and found.shape == (4, 5, 5)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    loss = StudentObjective(images, SPLIT, width=WIDTH).loss(tensors(given), torch.tensor([1, 3]))
    assert float(loss) == pytest.approx(np.square(np.array(wanted)[[1, 3]]).mean(), rel=1e-4)


def test_scores_do_not_depend_on_how_many_images_come_at_once() -> None:
    images = maps(19)
    together = student_scores(start(), images)
    np.testing.assert_allclose(
        np.concatenate([student_scores(start(), one[None]) for one in images]), together, rtol=1e-4
    )


def test_lengths_of_layers_do_not_matter() -> None:
    """Contrast scales a layer: neither what is read nor what is told depends on it."""
    images = maps()
    brighter = images * np.repeat([7.0, 0.2], [SPLIT, DIMENSION - SPLIT]).astype(np.float32)
    np.testing.assert_allclose(
        student_scores(start(), images), student_scores(start(), brighter), rtol=1e-4
    )


def test_a_patch_is_told_from_its_neighbours_alone() -> None:
    images = maps(1, side=9)
    changed = images.copy()
    changed[0, 4, 4] = changed[0, 4, 4, ::-1]
    moved = student_scores(start(), images) != student_scores(start(), changed)
    near = np.zeros((9, 9), bool)
    near[3:6, 3:6] = True
    assert moved[0, 4, 4] and not moved[0][~near].any()
    shallow = images.copy()
    shallow[0, 4, 4, :SPLIT] = shallow[0, 4, 4, :SPLIT][::-1]
    assert (student_scores(start(), images) != student_scores(start(), shallow))[0][near].any()


def test_its_size() -> None:
    """Of SqueezeNet's 256 + 512 channels: 377,600 numbers, 1.5 MB."""
    sizes = [int(np.prod(shape)) for shape in student_shapes(256, 768).values()]
    assert sum(sizes) == 128 * 256 * 9 + 128 + 128 * 128 + 128 + 512 * 128 + 512 == 377_600


def test_the_start_is_the_seeds_alone_and_of_he_s_size() -> None:
    one, again, other = (student_start(64, 128, seed=seed) for seed in (1, 1, 2))
    for name, shape in student_shapes(64, 128).items():
        assert one[name].shape == shape and one[name].dtype == np.float32
        np.testing.assert_array_equal(one[name], again[name])
        if len(shape) > 1:
            assert np.abs(one[name] - other[name]).max() > 0
            assert one[name].std() == pytest.approx((2 / np.prod(shape[1:])) ** 0.5, rel=0.05)
        else:
            assert not one[name].any()


def test_it_learns_what_normal_is() -> None:
    """Deep features that are a function of shallow ones are learned; others stand out."""
    rng = np.random.default_rng(0)
    shallow = rng.random((24, 6, 6, SPLIT)).astype(np.float32)
    mix = rng.random((SPLIT, DIMENSION - SPLIT)).astype(np.float32)
    images = np.concatenate([shallow, shallow @ mix], 3)
    objective = StudentObjective(images[:16], SPLIT, width=WIDTH, held_out=images[16:])
    held = {name: one.requires_grad_() for name, one in tensors(objective.start(0)).items()}
    before = objective.held_out_loss(held)
    optimiser = torch.optim.Adam(held.values(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        objective.loss(held, torch.arange(16)).backward()
        optimiser.step()
    assert objective.held_out_loss(held) < 0.05 * before
    odd = images[16:].copy()
    odd[:, 2, 3, SPLIT:] = odd[:, 2, 3, SPLIT:][:, ::-1]
    learned = {name: one.detach().numpy() for name, one in held.items()}
    found = student_scores(learned, odd).reshape(8, -1)
    assert (found.argmax(1) == 2 * 6 + 3).all()


def test_a_perfect_student_has_a_gradient() -> None:
    """‖t − s‖ has none at zero, its square has: 0, never NaN."""
    images = np.ones((1, 2, 2, 4), np.float32)
    given = tensors(student_start(2, 4, width=2))
    given["student.2.weight"] = torch.zeros_like(given["student.2.weight"])
    given["student.2.bias"] = torch.ones(2)
    given = {name: one.requires_grad_() for name, one in given.items()}
    StudentObjective(images, 2, width=2).loss(given, torch.tensor([0])).backward()
    for one in given.values():
        assert torch.isfinite(one.grad).all()


def test_what_no_student_can_learn_is_told() -> None:
    with pytest.raises(ConfigError, match="two layers or more"):
        StudentObjective(maps(), DIMENSION)
    with pytest.raises(CoresetError, match="maps"):
        StudentObjective(maps()[0], SPLIT)
    with pytest.raises(CoresetError, match="student of 8 features, got 7"):
        student_scores(start(), maps()[..., :7])
    assert np.isnan(StudentObjective(maps(), SPLIT, width=WIDTH).held_out_loss(tensors(start())))


def test_a_student_is_one_vector_and_back() -> None:
    one = start(3)
    again = unflattened(flattened(one), DIMENSION)
    assert set(again) == set(one)
    assert all(np.array_equal(again[name], one[name]) for name in one)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v[:-1],
        lambda v: np.append(v, np.float32(0)),
        lambda v: np.where(np.arange(len(v)) == 9, np.nan, v).astype(np.float32),
        lambda v: v.astype(np.float64),
        lambda v: np.concatenate([[DIMENSION], v[1:]]).astype(np.float32),
        lambda v: np.concatenate([[0], v[1:]]).astype(np.float32),
        lambda v: np.concatenate([v[:1], [10**9], v[2:]]).astype(np.float32),
        lambda v: v[:2],
    ],
)
def test_a_vector_that_is_no_student_is_refused(spoil) -> None:
    with pytest.raises(BankError):
        unflattened(spoil(flattened(start())), DIMENSION)
