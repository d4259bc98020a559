"""Sites whose losses are quadratics, so that every optimiser's fixed point is known on paper.

fᵢ(x) = ½ (x − bᵢ)ᵀ Aᵢ (x − bᵢ). A site takes Kᵢ gradient steps a round: it has Kᵢ examples, all
alike, and steps of one example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fedpatchcore.learned.answers import Update, change_of, check_update
from fedpatchcore.learned.local import train_locally
from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.learned.rules import Rule, Scaffold, control_after, correction

__all__ = ["SITES", "Quadratic", "follow", "optimum", "rests", "shrink", "to_model", "to_plain"]


@dataclass(frozen=True)
class Quadratic:
    """An `Objective` of two parameters, which make the vector x together."""

    name: str
    a: np.ndarray
    b: np.ndarray
    examples: int

    def start(self, seed: int) -> dict[str, np.ndarray]:
        return {"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1, np.float32)}

    def loss(self, parameters, index) -> torch.Tensor:
        x = torch.cat([parameters["weight"].reshape(-1), parameters["bias"]])
        off = x - torch.tensor(self.b, dtype=x.dtype)
        return 0.5 * off @ torch.tensor(self.a, dtype=x.dtype) @ off


def _site(name: str, seed: int, steps: int) -> Quadratic:
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.standard_normal((3, 3)))[0]
    a = turn @ np.diag(draw.uniform(0.3, 1.5, 3)) @ turn.T
    return Quadratic(name, a, 2 * draw.standard_normal(3), steps)


SITES = [_site("east", 1, 2), _site("north", 2, 5), _site("west", 3, 11)]


def to_plain(x: dict[str, np.ndarray]) -> np.ndarray:
    """The vector x of a model."""
    return np.concatenate([x["weight"].ravel(), x["bias"]]).astype(np.float64)


def to_model(x: np.ndarray) -> dict[str, np.ndarray]:
    """The model of a vector x."""
    return {"weight": x[None, :2].astype(np.float32), "bias": x[2:].astype(np.float32)}


def rests(rule: Rule, sites: Sequence[Quadratic], plan: LocalPlan) -> np.ndarray:
    """The fixed point of a rule without memory: a round is x⁺ = G x + h, found by four rounds."""
    h = to_plain(follow(rule, sites, plan, 1))
    columns = [to_plain(follow(rule, sites, plan, 1, start=to_model(e))) - h for e in np.eye(3)]
    return np.linalg.solve(np.eye(3) - np.stack(columns, axis=1), h)


def optimum(sites: Sequence[Quadratic], weights: Sequence[float] | None = None) -> np.ndarray:
    """Where Σ wᵢ fᵢ is least."""
    weights = weights or [1.0] * len(sites)
    left = sum(w * one.a for w, one in zip(weights, sites, strict=True))
    right = sum(w * one.a @ one.b for w, one in zip(weights, sites, strict=True))
    return np.linalg.solve(left, right)


def shrink(site: Quadratic, rate: float, steps: int) -> np.ndarray:
    """M with y − b = M (x − b) after so many plain steps."""
    return np.linalg.matrix_power(np.eye(3) - rate * site.a, steps)


def follow(
    rule: Rule,
    sites: Sequence[Quadratic],
    plan: LocalPlan,
    rounds: int,
    *,
    start: dict[str, np.ndarray] | None = None,
    first: int = 1,
    present: Callable[[int, Quadratic], bool] = lambda round, site: True,
    own: dict[str, dict] | None = None,
) -> dict[str, np.ndarray]:
    """The model after so many rounds of a federation in this function.

    Args:
        own: the sites' control variates, by name; changed in place.
    """
    x = sites[0].start(0) if start is None else start
    own = {} if own is None else own
    for round in range(first, first + rounds):
        server = rule.control(x) if isinstance(rule, Scaffold) else None
        updates = []
        for site in sites:
            if not present(round, site):
                continue
            mine = own.get(site.name)
            push = correction(mine, server) if server else None
            done = train_locally(site, x, plan, seed=round, correction=push)
            change, control = change_of(done.parameters, x), None
            if server:
                own[site.name] = control_after(
                    mine, server, change, steps=done.steps, rate=plan.rate
                )
                control = change_of(own[site.name], mine) if mine else own[site.name]
            updates.append(
                Update(
                    site.name,
                    round,
                    change,
                    site.examples,
                    done.steps,
                    done.weight,
                    control,
                    fresh=mine is None,
                )
            )
            check_update(updates[-1], x, round, plan=plan, control=server is not None)
        x = rule.step(round, x, updates)
    return x
