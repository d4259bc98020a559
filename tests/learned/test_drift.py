"""Drift on the synthetic(α, β) sets of FedProx (Li et al., MLSys 2020, section 5.1).

Each site has a softmax model of its own; α says how far the models lie apart, β the inputs. From
the optimum of all data together, local steps drift away: the further the less the sites are alike,
and the less the more the optimiser holds against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.learned.settings import LearnedSettings
from server_app.optimisers import rule_of
from tests.support import fakegrid  # noqa: F401  (messages need an identity, as in a ServerApp)
from tests.support.quadratics import follow

INPUTS, CLASSES, SITES, RIDGE = 60, 10, 6, 0.01


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy of a linear model, and a ridge that gives it one optimum."""

    name: str
    inputs: torch.Tensor
    classes: torch.Tensor

    @property
    def examples(self) -> int:
        return len(self.classes)

    def start(self, seed: int) -> dict[str, np.ndarray]:
        return {"w": np.zeros((INPUTS, CLASSES), np.float32), "b": np.zeros(CLASSES, np.float32)}

    def loss(self, parameters, index) -> torch.Tensor:
        told = self.inputs[index] @ parameters["w"] + parameters["b"]
        ridge = RIDGE / 2 * sum((one**2).sum() for one in parameters.values())
        return torch.nn.functional.cross_entropy(told, self.classes[index]) + ridge


def synthetic(alpha: float | None, beta: float, seed: int) -> list[Softmax]:
    """``alpha`` None: one model and one distribution of inputs for all sites."""
    draw = np.random.default_rng(seed)
    spread = np.sqrt(np.arange(1, INPUTS + 1) ** -1.2)
    model, found = draw.standard_normal((INPUTS + 1, CLASSES)), []
    for at in range(SITES):
        centre, count = np.zeros(INPUTS), int(np.clip(draw.lognormal(4, 1) + 50, 50, 400))
        if alpha is not None:
            model = draw.normal(draw.normal(0, np.sqrt(alpha)), 1, (INPUTS + 1, CLASSES))
            centre = draw.normal(draw.normal(0, np.sqrt(beta)), 1, INPUTS)
        inputs = centre + draw.standard_normal((count, INPUTS)) * spread
        classes = (inputs @ model[:-1] + model[-1]).argmax(axis=1)
        found.append(
            Softmax(str(at), torch.tensor(inputs, dtype=torch.float32), torch.tensor(classes))
        )
    return found


def together(sites: list[Softmax]) -> dict[str, np.ndarray]:
    """The optimum of all sites' mean loss."""
    x = {k: torch.tensor(v, requires_grad=True) for k, v in sites[0].start(0).items()}
    search = torch.optim.LBFGS(
        list(x.values()), max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        mean = sum(one.loss(x, torch.arange(one.examples)) for one in sites) / len(sites)
        mean.backward()
        return mean

    search.step(loss)
    return {k: v.detach().numpy() for k, v in x.items()}


def drift(sites: list[Softmax], best: dict, optimiser: str, rounds: int, mu: float = 0.0) -> float:
    """L2 distance from the optimum after some rounds of 25 steps that started there."""
    rule = rule_of(LearnedSettings(optimiser=optimiser, mu=mu), sites=SITES)
    x = follow(rule, sites, LocalPlan(25, 400, 0.02, mu=mu), rounds, start=best)
    return float(np.sqrt(sum(((x[k] - best[k]) ** 2).sum() for k in x)))


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_what_holds_against_drift_drifts_less() -> None:
    alike, apart = synthetic(None, 0, 0), synthetic(1, 1, 0)
    best = together(apart)
    fedavg = drift(apart, best, "fedavg", 4)
    weak, strong = (drift(apart, best, "fedprox", 4, mu) for mu in (0.3, 1.0))
    scaffold = drift(apart, best, "scaffold", 12)
    assert 5 * drift(alike, together(alike), "fedavg", 4) < fedavg
    assert scaffold < 0.5 * strong
    assert strong < 0.9 * weak
    assert weak < 0.97 * fedavg
