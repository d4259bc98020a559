"""A site's local steps under differential privacy of its images: DP-SGD, an image the unit.

Abadi et al., "Deep learning with differential privacy", CCS 2016, algorithm 1. In each step every
image is taken by a secret coin of its own (Poisson sampling); the gradient of an image, of the loss
over *all* its patches together, is clipped to L2 norm C; the sum gets N(0, σ²C²). Adding or
removing one image moves the sum of a step by at most C, whatever its number of patches.

Clipping, noise, scale and step go by opacus's `DPOptimizer`; three things of it are replaced:

* *Gradients by image* are formed here, one backward pass an image. An objective is a function of
  parameters by name and no module, so opacus's hooks find nothing; and an image's gradient must
  not depend on which others are in its batch, in its last digits either.
* *The sum* is exact. Each clipped gradient is cut to a lattice toward zero, which shortens it, and
  integers are added: a float sum is not off by C but by C and its roundings.
* *Noise* is `rounded_gaussian` from the operating system's generator. opacus draws floats by the
  generator of torch, which is no secure one; its secure mode takes a package that is built for no
  torch of today.

Coins are tossed by the operating system's generator as well: amplification by sampling holds as
long as nobody can tell who was drawn, and a run's seed is known to the server.

What comes out is a function of noisy sums and of public things (the model that came, the plan, the
number of steps), so momentum, the pull of FedProx, SCAFFOLD's correction and the whole model at the
end cost nothing more. No loss is told: it would be a release of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedpatchcore.errors import ConfigError
from fedpatchcore.learned.local import LocalResult
from fedpatchcore.learned.objective import ImageWise, Regular
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.privacy.sums import STEPS_A_SIGMA
from fedpatchcore.timing.halting import checkpoint

__all__ = ["ImageNoise", "clipped_steps", "drawn_images", "train_privately"]

RandBytes = Callable[[int], bytes]
ROUNDING = 1e-9  # by how much a gradient is kept shorter than C; float64 norms err by far less


@dataclass(frozen=True)
class ImageNoise:
    """The noise of one step.

    Attributes:
        multiplier: standard deviation over `clip`.
        clip: C, the L2 norm that an image's gradient has at most.
    """

    multiplier: float
    clip: float

    @property
    def step(self) -> float:
        """Of the lattice, in units of a gradient."""
        return self.multiplier * self.clip / STEPS_A_SIGMA


def clipped_steps(gradient: np.ndarray, noise: ImageNoise) -> np.ndarray:
    """One image's gradient, float ``[P]``, as it counts: int64 ``[P]`` in lattice steps.

    Its L2 norm is at most C. One that is not finite counts as 0: to raise would itself tell.
    """
    exact = gradient.astype(np.float64)
    length = float(np.linalg.norm(exact))
    if not math.isfinite(length):
        return np.zeros(gradient.shape, np.int64)
    if length > noise.clip * (1 - ROUNDING):
        exact *= noise.clip * (1 - ROUNDING) / length
    return np.trunc(exact / noise.step).astype(np.int64)


def drawn_images(images: int, rate: float, randbytes: RandBytes = os.urandom) -> np.ndarray:
    """Positions of the images that a step takes, each with probability ``rate``, in order.

    The probability is a multiple of 2^-53, at most ``rate``.
    """
    coins = np.frombuffer(randbytes(8 * images), "<u8") >> np.uint64(11)
    return np.flatnonzero(coins < np.uint64(math.floor(rate * 2**53)))


def train_privately(
    objective: ImageWise,
    x: Mapping[str, np.ndarray],
    plan: LocalPlan,
    noise: ImageNoise,
    *,
    correction: Mapping[str, np.ndarray] | None = None,
    device: str = "cpu",
    randbytes: RandBytes = os.urandom,
) -> LocalResult:
    """y after the plan's steps from x; as `train_locally`, with noise and without losses.

    A step is divided by ``plan.batch``, not by the number of images drawn or of all, which would
    tell: a site with more images moves the model more. What the objective adds whatever the images
    are (`Regular`) is neither clipped nor noised.

    Args:
        plan: with `LocalPlan.sampling`, which decides the number of steps.
        correction: c − cᵢ of SCAFFOLD, float32 by name.
        randbytes: source of noise and coins; anything but ``os.urandom`` is for tests.

    Raises:
        ConfigError: opacus is not installed here.
    """
    names = sorted(x)
    y = {n: torch.nn.Parameter(torch.tensor(x[n], device=device)) for n in names}
    start = {n: one.detach().clone() for n, one in y.items()}
    push = {n: torch.tensor(correction[n], device=device) for n in names} if correction else {}
    plain = torch.optim.SGD(list(y.values()), lr=plan.rate, momentum=plan.momentum)
    optimiser = _optimiser()(plain, noise, plan.batch, randbytes)

    def pull(_: object) -> None:
        """What is known without the images, added to the gradients after their noise."""
        if isinstance(objective, Regular):
            free = torch.autograd.grad(objective.regular(y), [y[n] for n in names])
            for n, one in zip(names, free, strict=True):
                y[n].grad += one
        for n in names:
            if plan.mu:
                y[n].grad += plan.mu * (y[n].detach() - start[n])
            if push:
                y[n].grad += push[n]

    optimiser.attach_step_hook(pull)
    steps = plan.steps(objective.examples)
    for _ in range(steps):
        checkpoint()
        for at in drawn_images(objective.examples, plan.sampling, randbytes):
            loss = objective.of_images(y, torch.tensor([at], device=device))
            given = torch.autograd.grad(
                loss, [y[n] for n in names], allow_unused=True, materialize_grads=True
            )
            optimiser.take(given)
        optimiser.finish()
    return LocalResult(
        parameters={n: y[n].detach().cpu().numpy() for n in x},
        steps=steps,
        weight=plan.weight(steps),
        losses=(math.nan,),
    )


def _optimiser() -> Callable[..., object]:
    """The class, made when it is first needed: opacus takes seconds to load."""
    try:
        from fedpatchcore.learned.dpsgd import ImageOptimiser
    except ImportError as error:
        raise ConfigError(f"dp='sgd' needs opacus ({error}): pip install opacus") from None
    return ImageOptimiser
