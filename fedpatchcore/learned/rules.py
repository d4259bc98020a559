"""The server's half of optimisers that Flower does not have, round by round: SCAFFOLD, FedNova.

A rule makes the next model of this one and of the sites' updates: ``step(round, x, updates)``. The
rules of ``server_app/optimisers.py`` (Flower's) and of `fedpatchcore.learned.arrivals` look the
same. Sums over sites are float64 and in the order of the sites' names, so that a model does not
depend on who answered first. What a rule remembers is given out by `state` and taken back by
`restore`, for checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.objective import Arrays

__all__ = [
    "FedNova",
    "Remembered",
    "Rule",
    "Scaffold",
    "control_after",
    "correction",
    "in_order",
    "mean_of",
    "moved",
    "shares",
]

STROKE = "/"


@dataclass(frozen=True)
class Remembered:
    """What a rule knows from round to round: arrays by name, and facts that JSON can hold."""

    arrays: Arrays = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Rule(Protocol):
    """One optimiser's half at the server."""

    def step(self, round: int, x: Arrays, updates: Sequence[Update]) -> Arrays:
        """The next model of x, the model of version ``round``, and checked updates."""
        ...

    def state(self) -> Remembered:
        """All that the next step depends on besides its arguments."""
        ...

    def restore(self, state: Remembered) -> None:
        """Go on from there."""
        ...


def in_order(updates: Sequence[Update]) -> list[Update]:
    """By the sites' names. Raises TrainingError if there are none, or two of one site."""
    found = sorted(updates, key=lambda one: one.site)
    names = [one.site for one in found]
    if not names or len(set(names)) < len(names):
        raise TrainingError(f"a round needs one update of each of some sites, got {names}")
    return found


def shares(updates: Sequence[Update], *, weighted: bool) -> list[float]:
    """pᵢ, of sum 1: by examples, or the same for all sites."""
    counts = [one.examples if weighted else 1 for one in updates]
    return [count / sum(counts) for count in counts]


def mean_of(parts: Sequence[Mapping[str, np.ndarray]], weights: Sequence[float]) -> Arrays:
    """Σ wᵢ·partᵢ by name, float64."""
    return {
        name: sum(w * part[name].astype(np.float64) for w, part in zip(weights, parts, strict=True))
        for name in parts[0]
    }


def moved(x: Mapping[str, np.ndarray], by: Mapping[str, np.ndarray], rate: float) -> Arrays:
    """x + rate·by, float32 by name."""
    return {name: np.asarray(one + rate * by[name], np.float32) for name, one in x.items()}


class Scaffold:
    """SCAFFOLD at the server (Karimireddy et al., ICML 2020, algorithm 1, option II).

    x⁺ = x + η_g/|S| Σ (yᵢ − x), c⁺ = c + |S|/N · mean(cᵢ⁺ − cᵢ); sites count equally, as there.

    The server keeps each site's cᵢ as the site reported it, so that c is their mean over N at any
    time. In the paper's setting this is the same; but where a site lost its own (``fresh``) or
    more sites came, the sum of differences would carry what is gone for ever, and the fixed point
    would be off by it.

    Args:
        sites: N, sites of the federation; grows when more turn up.
    """

    def __init__(self, *, sites: int, rate: float = 1.0) -> None:
        self.sites, self.rate = sites, rate
        self.controls: dict[str, Arrays] = {}

    def control(self, like: Mapping[str, np.ndarray]) -> Arrays:
        """c, float32 by name, which travels with the model; zeros in the first round."""
        if not self.controls:
            return {name: np.zeros_like(one) for name, one in like.items()}
        known = [self.controls[site] for site in sorted(self.controls)]
        found = mean_of(known, [1 / max(self.sites, len(known))] * len(known))
        return {name: one.astype(np.float32) for name, one in found.items()}

    def step(self, round: int, x: Arrays, updates: Sequence[Update]) -> Arrays:
        """See `Rule`. Raises TrainingError for an update without its control variate."""
        updates = in_order(updates)
        lacking = [one.site for one in updates if one.control is None]
        if lacking:
            raise TrainingError(f"the update of site '{lacking[0]}' has no control variate")
        for one in updates:
            before = None if one.fresh else self.controls.get(one.site)
            self.controls[one.site] = moved(before, one.control, 1) if before else one.control
        mean = mean_of([one.change for one in updates], shares(updates, weighted=False))
        return moved(x, mean, self.rate)

    def state(self) -> Remembered:
        """The sites' control variates."""
        sites = sorted(self.controls)
        arrays = {
            f"{at}{STROKE}{name}": one
            for at, site in enumerate(sites)
            for name, one in self.controls[site].items()
        }
        return Remembered(arrays, {"sites": sites, "expected": self.sites})

    def restore(self, state: Remembered) -> None:
        """See `Rule`."""
        names = state.facts["sites"]
        self.sites = max(self.sites, state.facts["expected"])
        self.controls = {site: {} for site in names}
        for key, one in state.arrays.items():
            at, _, name = key.partition(STROKE)
            self.controls[names[int(at)]][name] = one


def correction(own: Mapping[str, np.ndarray] | None, server: Mapping[str, np.ndarray]) -> Arrays:
    """c − cᵢ, which SCAFFOLD adds to each local gradient; cᵢ is 0 where the site has none."""
    return {name: np.asarray(c - (own[name] if own else 0)) for name, c in server.items()}


def control_after(
    own: Mapping[str, np.ndarray] | None,
    server: Mapping[str, np.ndarray],
    change: Mapping[str, np.ndarray],
    *,
    steps: int,
    rate: float,
) -> Arrays:
    """cᵢ⁺ = cᵢ − c − (y − x)/(K·η): the mean of the site's own gradients on its way (option II)."""
    return {
        name: np.asarray((own[name] if own else 0) - c - change[name] / (steps * rate), np.float32)
        for name, c in server.items()
    }


class FedNova:
    """FedNova (Wang et al., NeurIPS 2020): sites count by pᵢ, whatever their steps.

    x⁺ = x + η_g · τ_eff · Σ pᵢ (yᵢ − x)/‖aᵢ‖₁ with τ_eff = Σ pᵢ ‖aᵢ‖₁; the learning rate of local
    steps is in yᵢ − x already.
    """

    def __init__(self, *, rate: float = 1.0, weighted: bool = False) -> None:
        self.rate, self.weighted = rate, weighted

    def step(self, round: int, x: Arrays, updates: Sequence[Update]) -> Arrays:
        """See `Rule`."""
        updates = in_order(updates)
        parts = shares(updates, weighted=self.weighted)
        steps = sum(p * one.weight for p, one in zip(parts, updates, strict=True))
        each = [steps * p / one.weight for p, one in zip(parts, updates, strict=True)]
        return moved(x, mean_of([one.change for one in updates], each), self.rate)

    def state(self) -> Remembered:
        """Nothing."""
        return Remembered()

    def restore(self, state: Remembered) -> None:
        """See `Rule`."""
