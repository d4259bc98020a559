"""A site's half of gradient training: some steps from the server's model, of one seed.

Plain gradient steps or heavy-ball momentum, on whatever `Objective` it is given; FedProx's term and
SCAFFOLD's correction are added to each gradient. On a CPU the same seed gives the same bits, as
long as the number of threads is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.objective import Arrays, HeldOut, Objective
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.timing.halting import checkpoint

__all__ = ["LocalResult", "train_locally"]


@dataclass(frozen=True)
class LocalResult:
    """What came of a site's local steps.

    Attributes:
        parameters: y, float32 by name, as the model that was given.
        steps: K.
        weight: ‖a‖₁ of FedNova (`LocalPlan.weight`).
        losses: the mean of each epoch, before its steps took effect.
        held_out: loss of the model x as it came, over held-out examples; None without such.
        held_out_after: the same of y.
    """

    parameters: Arrays
    steps: int
    weight: float
    losses: tuple[float, ...]
    held_out: float | None = None
    held_out_after: float | None = None


def train_locally(
    objective: Objective,
    x: Mapping[str, np.ndarray],
    plan: LocalPlan,
    *,
    seed: int,
    correction: Mapping[str, np.ndarray] | None = None,
    device: str = "cpu",
) -> LocalResult:
    """y after the plan's steps from x: v ← ρv + ∇f(y) + μ(y − x) + correction; y ← y − ηv.

    May be given up between steps (`fedpatchcore.timing.halting`).

    Args:
        x: the server's model, float32 by name.
        seed: of the order of examples, which is drawn anew for each epoch.
        correction: c − cᵢ of SCAFFOLD, float32 by name.

    Raises:
        TrainingError: the site has no examples, or a loss or the model is no longer finite.
    """
    if objective.examples < 1:
        raise TrainingError("there is nothing to train on: the site has no example")
    start = {name: torch.tensor(one, device=device) for name, one in x.items()}
    push = {k: torch.tensor(correction[k], device=device) for k in start} if correction else {}
    y = {name: one.clone().requires_grad_() for name, one in start.items()}
    speed = {name: torch.zeros_like(one) for name, one in start.items()}
    draw = torch.Generator().manual_seed(seed)
    held_out = _held_out(objective, start)
    losses, steps = [], 0
    for _ in range(plan.epochs):
        total = 0.0
        for index in torch.randperm(objective.examples, generator=draw).split(plan.batch):
            checkpoint()
            steps += 1
            loss = objective.loss(y, index.to(device))
            if not math.isfinite(told := float(loss.detach())):
                raise TrainingError(f"the loss is {told} at local step {steps}; {_mend(plan)}")
            total += told * len(index)
            gradients = torch.autograd.grad(
                loss, list(y.values()), allow_unused=True, materialize_grads=True
            )
            with torch.no_grad():
                for (name, here), pull in zip(y.items(), gradients, strict=True):
                    if plan.mu:
                        pull = pull + plan.mu * (here - start[name])
                    if push:
                        pull = pull + push[name]
                    speed[name].mul_(plan.momentum).add_(pull)
                    here.sub_(plan.rate * speed[name])
        losses.append(total / objective.examples)
    found = {name: one.detach() for name, one in y.items()}
    if not all(bool(torch.isfinite(one).all()) for one in found.values()):
        raise TrainingError(f"the model is not finite after {steps} local steps; {_mend(plan)}")
    after = _held_out(objective, found)
    return LocalResult(
        parameters={name: one.cpu().numpy() for name, one in found.items()},
        steps=steps,
        weight=plan.weight(steps),
        losses=tuple(losses),
        held_out=held_out,
        held_out_after=after,
    )


def _held_out(objective: Objective, parameters: Mapping[str, torch.Tensor]) -> float | None:
    if not isinstance(objective, HeldOut):
        return None
    with torch.no_grad():
        return float(objective.held_out_loss(parameters))


def _mend(plan: LocalPlan) -> str:
    return f"set a smaller learning-rate (here {plan.rate:g})"
