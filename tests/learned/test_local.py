"""Local steps in numbers, from one seed, and how they end when they go astray."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from fedpatchcore.errors import Halted, TrainingError
from fedpatchcore.learned.local import train_locally
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.timing.halting import haltable

X = {"w": np.array([1.0, -2.0], np.float32)}


@dataclass
class Pull:
    """Loss ½‖w − mean of the batch‖²; remembers which examples it was asked for."""

    points: np.ndarray
    asked: list[list[int]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        return len(self.points)

    def start(self, seed: int) -> dict[str, np.ndarray]:
        return X

    def loss(self, parameters, index) -> torch.Tensor:
        self.asked.append(index.tolist())
        aim = torch.tensor(self.points)[index].mean(dim=0)
        return 0.5 * ((parameters["w"] - aim) ** 2).sum()


class Held(Pull):
    def held_out_loss(self, parameters) -> float:
        return float((parameters["w"] ** 2).sum())


def points(count: int = 7) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("plan", "corrected"),
    [
        (LocalPlan(2, 3, 0.1), False),
        (LocalPlan(2, 3, 0.1, momentum=0.7), False),
        (LocalPlan(3, 4, 0.1, mu=0.9), False),
        (LocalPlan(2, 3, 0.1), True),
        (LocalPlan(2, 3, 0.1, momentum=0.5, mu=0.4), True),
    ],
)
def test_steps_are_those_on_paper(plan: LocalPlan, corrected: bool) -> None:
    site = Pull(points())
    push = {"w": np.array([0.3, -0.2], np.float32)} if corrected else None
    done = train_locally(site, X, plan, seed=5, correction=push)
    y, speed = X["w"].astype(np.float64), 0.0
    for batch in site.asked:
        pull = y - site.points[batch].mean(axis=0) + plan.mu * (y - X["w"])
        if corrected:
            pull = pull + push["w"]
        speed = plan.momentum * speed + pull
        y = y - plan.rate * speed
    assert np.allclose(done.parameters["w"], y, atol=1e-6)
    assert done.parameters["w"].dtype == np.float32
    assert done.steps == len(site.asked) == plan.steps(7)
    assert X["w"].tolist() == [1.0, -2.0]  # the server's model is left as it was


def test_each_epoch_asks_for_every_example_once_in_an_order_of_its_own() -> None:
    site = Pull(points())
    done = train_locally(site, X, LocalPlan(2, 3, 0.1), seed=5)
    assert [len(b) for b in site.asked] == [3, 3, 1, 3, 3, 1]
    first, second = ([at for b in part for at in b] for part in (site.asked[:3], site.asked[3:]))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert len(done.losses) == 2 and done.losses[1] < done.losses[0]


def test_a_seed_gives_the_same_bits_and_another_does_not() -> None:
    plan = LocalPlan(3, 2, 0.1, momentum=0.5)
    one, again, other = (
        train_locally(Pull(points()), X, plan, seed=seed).parameters["w"] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_the_loss_of_an_epoch_is_the_mean_over_examples() -> None:
    """With a rate of next to nothing the model stays, and batches of one see each example."""
    site = Pull(points())
    done = train_locally(site, X, LocalPlan(1, 1, 1e-12), seed=0)
    assert done.losses[0] == pytest.approx(
        float(np.mean(0.5 * ((X["w"] - site.points) ** 2).sum(axis=1))), rel=1e-5
    )


def test_the_held_out_loss_is_of_the_model_as_it_came_and_as_it_went() -> None:
    done = train_locally(Held(points()), X, LocalPlan(1, 8, 0.5), seed=0)
    assert done.held_out == pytest.approx(5.0)
    assert done.held_out_after == pytest.approx(float((done.parameters["w"] ** 2).sum()))
    assert train_locally(Pull(points()), X, LocalPlan(1, 8, 0.5), seed=0).held_out is None


def test_a_parameter_that_the_loss_does_not_use_stays() -> None:
    x = {**X, "unused": np.ones(2, np.float32)}
    done = train_locally(Pull(points()), x, LocalPlan(1, 8, 0.5), seed=0)
    assert done.parameters["unused"].tolist() == [1.0, 1.0]


def test_training_that_goes_astray_is_a_typed_error_that_names_the_mend() -> None:
    with pytest.raises(TrainingError, match=r"the loss is (inf|nan) at local step \d+; set a smal"):
        train_locally(Pull(points()), X, LocalPlan(200, 7, 90.0), seed=0)
    spoilt = points()
    spoilt[2, 0] = np.nan
    with pytest.raises(TrainingError, match="the loss is nan at local step 1"):
        train_locally(Pull(spoilt), X, LocalPlan(1, 7, 0.1), seed=0)

    class Steep(Pull):
        def loss(self, parameters, index) -> torch.Tensor:
            return torch.sqrt((parameters["w"] * 0).sum())  # 0, with a gradient that is NaN

    with pytest.raises(TrainingError, match="the model is not finite after 1 local steps"):
        train_locally(Steep(points()), X, LocalPlan(1, 7, 0.1), seed=0)
    with pytest.raises(TrainingError, match="no example"):
        train_locally(Pull(points(0)), X, LocalPlan(1, 7, 0.1), seed=0)


def test_training_that_nobody_waits_for_is_given_up_between_steps() -> None:
    site = Pull(points())

    def enough() -> None:
        if len(site.asked) == 2:
            raise Halted("nobody waits")

    with haltable(enough), pytest.raises(Halted):
        train_locally(site, X, LocalPlan(5, 1, 0.1), seed=0)
    assert len(site.asked) == 2
