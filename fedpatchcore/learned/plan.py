"""What a site is told to do in one round of training, and the choices that come of one seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["LocalPlan", "Schedule", "rate_in_round", "sampled", "seed_of"]

Schedule = Literal["constant", "cosine", "step"]
STEP = 0.1  # the schedule "step" multiplies the rate by it after half and three quarters


@dataclass(frozen=True)
class LocalPlan:
    """Local steps of one round.

    Attributes:
        epochs: passes over the site's examples.
        batch: examples a step; the last step of a pass takes what is left.
        rate: the learning rate η of this round.
        momentum: ρ of heavy-ball momentum, which starts at 0 in each round.
        mu: μ of the proximal term μ/2 ‖y − x‖².
        sampling: a step takes each example with this probability, and the number of steps depends
            on it alone (`fedpatchcore.learned.private`); 0: passes, each example once.
    """

    epochs: int
    batch: int
    rate: float
    momentum: float = 0.0
    mu: float = 0.0
    sampling: float = 0.0

    def steps(self, examples: int) -> int:
        """K of a site with so many examples."""
        if self.sampling:
            return self.epochs * math.ceil(1 / self.sampling - 1e-9)
        return self.epochs * math.ceil(examples / self.batch)

    def weight(self, steps: int) -> float:
        """‖a‖₁: how often the gradients of ``steps`` local steps count in y − x = −η Σ aₖ gₖ.

        FedNova (Wang et al., NeurIPS 2020): K for plain steps, [K − ρ(1 − ρᴷ)/(1 − ρ)] /
        (1 − ρ) with momentum, [1 − (1 − ημ)ᴷ] / (ημ) with the proximal term. All three are the
        same recursion with every gradient 1, which also covers momentum and mu together and loses
        no digits where ημ is small.
        """
        speed = moved = 0.0
        for _ in range(steps):
            speed = self.momentum * speed + 1.0 - self.rate * self.mu * moved
            moved += speed
        return moved


def rate_in_round(rate: float, schedule: Schedule, round: int, rounds: int) -> float:
    """The learning rate of round 1 … rounds; in round 1 it is ``rate`` by every schedule."""
    done = (round - 1) / rounds
    if schedule == "cosine":
        return rate * (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return rate * STEP ** ((done >= 0.5) + (done >= 0.75))
    return rate


def seed_of(seed: int, *words: object) -> int:
    """A seed of 63 bits for one purpose: ``seed_of(config.seed, "batches", site, round)``."""
    told = hashlib.sha256("\n".join(map(str, (seed, *words))).encode()).digest()
    return int.from_bytes(told[:8], "big") >> 1


def sampled(
    sites: Iterable[str], fraction: float, *, seed: int, round: int, least: int = 1
) -> list[str]:
    """The sites that train in this round, in order of name: ``fraction`` of them, rounded up.

    At least ``least``, as far as there are so many. Who is drawn depends on seed, round and names.
    """
    names = sorted(set(sites))
    count = min(len(names), max(least, math.ceil(fraction * len(names) - 1e-9)))
    drawn = sorted(names, key=lambda name: seed_of(seed, "sampled", round, name))
    return sorted(drawn[:count])
