"""The p-chart: of so many parts, how many may be stopped before that is more than chance.

The lines that are drawn are Shewhart's, p ± 3 √(p (1 − p) / n) (Montgomery, *Introduction to
Statistical Quality Control*, 7.2). Where p is small they are no good to decide by: of 50 parts at
1% the upper one is crossed 1.4% of the time instead of 0.135%. So it is decided by counts: the
largest that chance exceeds with at most `RARE`, by the binomial distribution where the rate is
known, by the beta-binomial one where it was counted in a reference period that was itself chance
(with Jeffreys' prior, Beta(½, ½)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["RARE", "Usual", "shewhart"]

RARE = 0.00135  # on one side: what lies beyond three standard deviations of a normal value


def shewhart(rate: float, of: int) -> tuple[float, float]:
    """Lower and upper three-sigma line of a share of ``of`` parts, in [0, 1]."""
    reach = 3 * math.sqrt(rate * (1 - rate) / of)
    return max(0.0, rate - reach), min(1.0, rate + reach)


@dataclass(frozen=True)
class Usual:
    """What share of parts is usually stopped.

    Attributes:
        rate: as promised, in [0, 1]; or what was counted.
        count, of: the reference period; 0 of 0: the rate is taken as known.
    """

    rate: float
    count: int = 0
    of: int = 0

    @classmethod
    def counted(cls, count: int, of: int) -> Usual:
        """As in a reference period of ``of`` ≥ 1 parts."""
        return cls(count / of, count, of)

    def chances(self, of: int) -> list[float]:
        """Of 0, 1, … ``of`` parts stopped out of ``of``; they add up to 1."""
        if not self.of:
            return _binomial(self.rate, of)
        a, b = self.count + 0.5, self.of - self.count + 0.5
        return [
            math.exp(_choose(of, x) + _beta(x + a, of - x + b) - _beta(a, b)) for x in range(of + 1)
        ]

    def limits(self, of: int, rare: float = RARE) -> tuple[int, int]:
        """Fewest and most parts that chance explains: beyond each lies at most ``rare``."""
        return _limits(self, of, rare)


@lru_cache(256)
def _limits(usual: Usual, of: int, rare: float) -> tuple[int, int]:
    chances = usual.chances(of)
    most, beyond = of, 0.0
    while most > 0 and beyond + chances[most] <= rare:
        beyond += chances[most]
        most -= 1
    least, below = 0, 0.0
    while least < most and below + chances[least] <= rare:
        below += chances[least]
        least += 1
    return least, most


def _binomial(rate: float, of: int) -> list[float]:
    if rate <= 0 or rate >= 1:
        sure = 0 if rate <= 0 else of
        return [float(x == sure) for x in range(of + 1)]
    hit, miss = math.log(rate), math.log1p(-rate)
    return [math.exp(_choose(of, x) + x * hit + (of - x) * miss) for x in range(of + 1)]


def _choose(of: int, x: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(x + 1) - math.lgamma(of - x + 1)


def _beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
