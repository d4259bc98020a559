"""Candidates compared on the same pictures: planted AUROC, with what it may be, and the front.

The area under the ROC curve is the chance that a picture with a planted defect outscores a good
one. Pictures are few and a defect is planted into several copies of one, so intervals are by
bootstrap over pictures with all that was planted into them (over groups, where pictures belong
together): percentile intervals, 5% to 95% (Efron, Tibshirani, An Introduction to the Bootstrap,
1993, chapter 13). A difference to another candidate is of the same resamples for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.tuning.candidates import AS_TOLD
from fedpatchcore.tuning.trial import Scores, Trial

__all__ = ["Ranked", "front", "ranked"]

RESAMPLES = 1000
ENDS = (5, 95)


@dataclass(frozen=True)
class Ranked:
    """A candidate's figures.

    Attributes:
        name: of the candidate.
        auroc: planted, the mean over products; ``low`` and ``high``: 90% interval.
        gain: over the settings told; NaN where these were not tried.
        seconds: a picture; ``memory``: bytes.
        images: pictures it rests on.
    """

    name: str
    auroc: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    seconds: float
    memory: int
    images: int

    @property
    def better(self) -> bool:
        """Whether it is better than the settings told by more than chance."""
        return self.gain_low > 0

    @property
    def gained(self) -> tuple[str, str]:
        """The gain and its interval as printed; "–" of what was told itself, or not known."""
        if self.name == AS_TOLD or math.isnan(self.gain):
            return "–", "–"
        known = not math.isnan(self.gain_low)
        between = f"{self.gain_low:+.3f} to {self.gain_high:+.3f}" if known else "–"
        return f"{self.gain:+.3f}", between


def ranked(trials: Mapping[str, Trial], told: str, *, seed: int = 0) -> list[Ranked]:
    """Candidates by name, all tried on the same pictures → the best first.

    Args:
        told: the candidate that gains are over.
    """
    draws = {name: _draws(trial, seed) for name, trial in trials.items()}
    base = draws.get(told)
    found = []
    for name, trial in trials.items():
        own = draws[name]
        low, high = np.percentile(own[1:], ENDS)
        gain, gain_low, gain_high = np.nan, np.nan, np.nan
        if base is not None:
            gain = own[0] - base[0]
            gain_low, gain_high = np.percentile(own[1:] - base[1:], ENDS)
        figures = (own[0], low, high, gain, gain_low, gain_high)
        found.append(Ranked(name, *map(float, figures), trial.seconds, trial.memory, trial.images))
    return sorted(found, key=lambda one: (-one.auroc, one.seconds, one.name))


def front(found: Sequence[Ranked]) -> list[Ranked]:
    """Those that no other beats in AUROC, seconds and memory at once, the quickest first."""

    def beaten(one: Ranked) -> bool:
        mine = (-one.auroc, one.seconds)
        return any(
            all(a <= b for a, b in zip((-other.auroc, other.seconds), mine, strict=True))
            and (-other.auroc, other.seconds) != mine
            for other in found
        )

    return sorted((one for one in found if not beaten(one)), key=lambda one: one.seconds)


def _draws(trial: Trial, seed: int) -> np.ndarray:
    """The AUROC as it is, then of resamples: float ``[1 + RESAMPLES]``, the mean over products."""
    every = [
        _product_draws(one, np.random.default_rng([seed, 4, at]))
        for at, (_, one) in enumerate(sorted(trial.products.items()))
    ]
    return np.mean(every, axis=0)


def _product_draws(scores: Scores, rng: np.random.Generator) -> np.ndarray:
    wins, planted = _wins(scores)
    groups = np.asarray(scores.groups)
    count = int(groups.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, count)), drawn])[:, groups]
    won = ((weights @ wins) * weights).sum(1)
    of = (weights @ planted) * weights.sum(1)
    return np.where(of > 0, won / np.maximum(of, 1), 0.5)


def _wins(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """How often defects of picture k outscore picture i, ``[n, n]``, and their number ``[n]``."""
    good, planted = np.asarray(scores.good), np.asarray(scores.planted)
    above = (planted[:, None] > good) + 0.5 * (planted[:, None] == good)
    wins, count = np.zeros((len(good), len(good))), np.zeros(len(good))
    np.add.at(wins, np.asarray(scores.owner), above)
    np.add.at(count, np.asarray(scores.owner), 1)
    return wins, count
