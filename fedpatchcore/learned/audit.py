"""Canaries in training: the real private steps run many times, with and without one image.

The attacker knows every other image, and that the canary pulls the model the same way in every step
as hard as the clip lets it, which is the most that any image can do. What is looked at is the
trained model, as it leaves a site, projected on that way (Nasr et al., S&P 2021, whose strongest
attacker this is, but for seeing the steps between, which leave no site here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.errors import ConfigError
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.learned.private import ImageNoise, train_privately
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.audit.canaries import MechanismAudit
from fedpatchcore.privacy.audit.refutation import epsilon_lower_bound

__all__ = ["audit_training"]

SIZE = 9  # parameters; more make runs slower and change nothing about one image's pull
STEPS = 2


class _Pulls:
    """An objective whose image i has the gradient ``rows[i]``, whatever the model."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.examples = torch.from_numpy(rows), len(rows)

    def of_images(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        return (self.rows[index] * parameters["w"]).sum()


def audit_training(
    *, epsilon: float = 1.0, delta: float = 1e-5, runs: int = 1000, confidence: float = 0.95
) -> MechanismAudit:
    """Lower bounds on ε from ``runs`` trainings with a canary and ``runs`` without.

    Noise is what `dp-epsilon` asks for over the steps; every step takes all images. Both bounds
    hold together at ``confidence``.

    Raises:
        ConfigError: too few runs.
    """
    if runs < 2:
        raise ConfigError(f"an audit needs two runs or more, got {runs}")
    sigma = gaussian_sigma(epsilon, delta) * STEPS**0.5
    other = np.zeros((1, SIZE), np.float32)
    canary = np.full((1, SIZE), 9.0, np.float32)  # far beyond the clip
    scores = [
        np.array([_trained(rows, sigma) for _ in range(runs)])
        for rows in (np.concatenate([other, canary]), other)
    ]
    level = (1 + confidence) / 2
    exact = gaussian_epsilon(sigma / STEPS**0.5, delta)
    bounds = [
        epsilon_lower_bound(*scores, delta=delta, confidence=level, gaussian=gaussian)
        for gaussian in (False, True)
    ]
    return MechanismAudit("sgd", epsilon, delta, exact, exact, 1.0, 0, *bounds)


def _trained(rows: np.ndarray, sigma: float) -> float:
    """How far a training went along the canary's way."""
    plan = LocalPlan(epochs=STEPS, batch=1, rate=1.0, sampling=1.0)
    x = {"w": np.zeros(SIZE, np.float32)}
    found = train_privately(_Pulls(rows), x, plan, ImageNoise(sigma, 1.0)).parameters["w"]
    return -float(found.sum(dtype=float)) / math.sqrt(SIZE)
