"""Private local steps: what one image can move, the noise, the coins, and what comes of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpatchcore.learned import audit
from fedpatchcore.learned.audit import audit_training
from fedpatchcore.learned.local import train_locally
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.learned.private import ImageNoise, clipped_steps, drawn_images, train_privately
from fedpatchcore.learned.student import StudentObjective, student_start
from fedpatchcore.privacy.sums import STEPS_A_SIGMA

X = student_start(4, 10, width=16, seed=1)
WHOLE = LocalPlan(epochs=1, batch=1, rate=1.0, sampling=1.0)
SOME = np.random.default_rng(0).standard_normal((7, 5, 5, 10)).astype(np.float32)


def flat(parameters: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([parameters[n].ravel() for n in sorted(parameters)]).astype(float)


def seeded(seed: int) -> Callable[[int], bytes]:
    """Bytes that depend on how many are asked for, and how often: noise does not follow coins."""
    draws: dict[int, np.random.Generator] = {}
    return lambda n: draws.setdefault(n, np.random.default_rng([seed, n])).bytes(n)


class Pulls:
    """An objective whose image i has the gradient ``rows[i]``, whatever the model."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.examples = torch.from_numpy(np.asarray(rows, np.float32)), len(rows)

    def of_images(self, parameters, index):
        return (self.rows[index] * parameters["w"]).sum()


@settings(max_examples=200, deadline=None)
@given(
    gradient=arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)),
    clip=st.floats(1e-3, 1e3),
    multiplier=st.floats(1e-2, 1e3),
)
def test_no_gradient_counts_for_more_than_the_clip(gradient, clip, multiplier) -> None:
    """Whatever it holds, NaN, infinities and the largest floats too."""
    noise = ImageNoise(multiplier, clip)
    counted = clipped_steps(gradient, noise)
    assert counted.dtype == np.int64
    length = math.sqrt(sum(int(one) ** 2 for one in counted)) * noise.step
    assert length <= clip
    exact = float(np.linalg.norm(gradient.astype(float)))
    if not math.isfinite(exact):
        assert not counted.any()
    elif exact < clip / 2:
        assert np.abs(counted * noise.step - gradient).max() <= noise.step * (1 + 1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_one_image_moves_a_step_by_the_clip_at_most(scale: float) -> None:
    """With all its patches: the same noise, the image in and out."""
    with_it = SOME.copy()
    with_it[-1] *= scale
    noise = ImageNoise(1e-6, 0.05)
    found = [
        flat(train_privately(StudentObjective(f, 4, width=16), X, WHOLE, noise,
                             randbytes=seeded(3)).parameters)
        for f in (with_it, with_it[:-1])
    ]  # fmt: skip
    moved = float(np.linalg.norm(found[0] - found[1]))
    assert 0 < moved <= 0.05 * (1 + 1e-4)


def test_hardly_any_noise_and_no_clip_is_gradient_descent() -> None:
    plan = LocalPlan(epochs=3, batch=7, rate=0.1, momentum=0.5, sampling=1.0)
    plain = LocalPlan(epochs=3, batch=7, rate=0.1, momentum=0.5)
    objective = StudentObjective(SOME, 4, width=16)
    expected = train_locally(objective, X, plain, seed=0).parameters
    found = train_privately(objective, X, plan, ImageNoise(1e-7, 100.0)).parameters
    assert np.abs(flat(found) - flat(expected)).max() < 1e-4
    assert np.abs(flat(expected) - flat(X)).max() > 1e-2


def test_the_pull_of_the_plan_and_of_the_server_are_added_after_the_noise() -> None:
    plan = LocalPlan(epochs=2, batch=1, rate=0.5, mu=0.25, sampling=1.0)
    push = {"w": np.array([2.0, -4.0], np.float32)}
    x = {"w": np.zeros(2, np.float32)}
    noise = ImageNoise(1e-9, 1e-3)  # neither of them is clipped
    found = train_privately(Pulls(np.zeros((3, 2))), x, plan, noise, correction=push)
    first = -0.5 * push["w"]
    expected = first - 0.5 * (push["w"] + 0.25 * first)
    assert np.allclose(found.parameters["w"], expected, atol=1e-5)


def test_noise_has_the_stated_spread_whatever_the_images() -> None:
    x = {"w": np.zeros(20_000, np.float32)}
    plan = LocalPlan(epochs=4, batch=5, rate=0.1, sampling=1.0)
    noise = ImageNoise(3.0, 0.5)
    found = train_privately(Pulls(np.zeros((2, 20_000))), x, plan, noise).parameters["w"]
    due = 0.1 / 5 * 3.0 * 0.5 * 4**0.5
    assert found.std() == pytest.approx(due, rel=0.03)
    assert abs(found.mean()) < 4 * due / 20_000**0.5
    steps = found / (0.1 / 5 * noise.step)  # on the lattice, as near as float32 tells
    assert noise.step * STEPS_A_SIGMA == pytest.approx(1.5)
    assert np.abs(steps - np.round(steps)).max() < 0.1


def test_noise_and_coins_have_no_seed() -> None:
    x = {"w": np.zeros(3, np.float32)}
    one, two = (
        train_privately(Pulls(np.ones((4, 3))), x, WHOLE, ImageNoise(1.0, 1.0)).parameters["w"]
        for _ in range(2)
    )
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_every_image_is_drawn_by_a_coin_of_its_own(rate: float) -> None:
    draws = np.zeros((4000, 3), bool)
    for at in range(len(draws)):
        draws[at, drawn_images(3, rate)] = True
    assert np.abs(draws.mean(0) - rate).max() <= 5 * (rate * (1 - rate) / 4000) ** 0.5
    if rate < 1:
        assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.1


def test_the_number_of_steps_is_that_of_the_settings() -> None:
    plan = LocalPlan(epochs=2, batch=4, rate=0.1, sampling=0.3)
    assert plan.steps(1) == plan.steps(10_000) == 8
    x = {"w": np.zeros(2, np.float32)}
    found = train_privately(Pulls(np.ones((1, 2))), x, plan, ImageNoise(1.0, 1.0))
    assert found.steps == 8 and math.isnan(found.losses[0]) and found.held_out is None


def test_steps_without_an_image_are_noise_alone() -> None:
    plan = LocalPlan(epochs=1, batch=1, rate=1.0, sampling=1e-2)
    x = {"w": np.zeros(50, np.float32)}
    none = train_privately(Pulls(np.ones((1, 50))), x, plan, ImageNoise(1e-6, 9.0), randbytes=zeros)
    assert np.abs(none.parameters["w"]).max() > 0  # 100 steps, none of which drew it


def zeros(count: int) -> bytes:
    """Coins that all say no (the largest number), noise as it is."""
    import os

    return b"\xff" * count if count == 8 else os.urandom(count)


# -- canaries on what is trained -------------------------------------------------------


def test_canaries_show_no_more_than_is_charged_and_find_training_without_noise() -> None:
    """The audit of the command line. Of 250 trainings one in six shows next to nothing."""
    private, bare = audit_training(epsilon=4.0, runs=800), audit_training(epsilon=400.0, runs=60)
    assert private.for_an_image == pytest.approx(4.0)
    assert 0.5 < private.shown <= 4.0 and not private.contradicted
    assert bare.shown > 4.0  # what would refute a claim of 4


def test_canaries_find_noise_that_is_less_than_charged(monkeypatch) -> None:
    """A quarter of the noise that the claim takes."""
    true = audit.ImageNoise
    monkeypatch.setattr(audit, "ImageNoise", lambda sigma, clip: true(sigma / 4, clip))
    assert audit_training(epsilon=4.0, runs=250).contradicted
