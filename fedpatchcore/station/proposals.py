"""Another threshold from people's words: what it would be, what it would change, what is not known.

People look at parts that were stopped, and at few of those that passed. So the two ways differ:

*raise*, where people called stopped parts good: half-way between the highest of these parts below
all others that the threshold in use stops, and the lowest of these others. The others are confirmed
defects, and whatever nobody looked at or was unsure of: **it releases nothing but what people
called good**, and no choice of what they looked at makes it look better than it is. All n confirmed
defects lie above it. The chance that a value comes to be proposed by which more than a share x of
further defects (of the kind that is stopped now) pass is (1 − x)ⁿ at most, whatever the good parts
look like, although these very defects chose it: it lies below the lowest of them. That is 5% at the
upper end of Clopper & Pearson's interval of 0 of n. Who looks again and again, and takes it when it
looks best, has 5% with the first `FEWEST` defects alone, for further ones only lower the value. Not
where people found defects among passed parts: there is no room.

*lower*, where people found defects among passed parts: half-way between the lowest of them that can
be had and the next part below. It can be had if no more than `MOST_ADDED` of all passed parts come
to be stopped with it. That share is of all parts, whoever looked at them. How many defects pass
in all nobody knows: these are the ones that somebody found.

All of it holds for parts like those that were judged: not beyond a drift, nor with another bank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedpatchcore.metrics.rates import Rate

__all__ = ["FEW", "FEWEST", "MOST_ADDED", "Proposal", "Told", "proposed"]

FEWEST = 20  # confirmed defects below which nothing is raised: up to 14% might pass with 20
FEW = 3  # words that move a threshold at all: one slip of a key does not
MOST_ADDED = 0.05  # share of passed parts that a lower threshold may stop


@dataclass(frozen=True)
class Told:
    """What is known of the parts of one product that one bank judged; all scores are finite.

    Attributes:
        threshold: in use.
        defects, goods: scores of the parts that people called so, stopped ones and passed ones.
        other: lowest score of a stopped part that nobody called one or the other; infinite if there
            is none.
        waiting: how many of these there are.
        top: highest scores of passed parts, falling: `reach` of them, or all.
        passed: parts that the threshold in use passes, whoever looked at them.
    """

    threshold: float
    defects: Sequence[float]
    goods: Sequence[float]
    other: float = math.inf
    waiting: int = 0
    top: Sequence[float] = ()
    passed: int = 0

    @staticmethod
    def reach(passed: int) -> int:
        """How many of the highest scores of passed parts `proposed` looks at."""
        return math.floor(MOST_ADDED * passed) + 1


@dataclass(frozen=True)
class Proposal:
    """A threshold in place of the one in use.

    Attributes:
        kind: "raise" or "lower".
        alarms: raise: false alarms that it ends, of those that people looked at. lower: parts that
            passed and that it stops, of all that passed.
        defects: raise: confirmed defects that it passes, 0 of n, whose interval is explained above.
            lower: defects that passed and that it stops, of those that people found.
    """

    kind: str
    value: float
    before: float
    alarms: Rate
    defects: Rate


def proposed(told: Told) -> tuple[list[Proposal], list[str]]:
    """What people's words would have the threshold be → proposals, and what keeps others back.

    Reasons are "missed" (defects pass: nothing is raised), "defects" (fewer than `FEWEST` are
    confirmed), "waiting" (stopped parts that nobody called good or bad lie in the way), "alike"
    (defects that people found score like good parts: no threshold has them). None: all is well.
    """
    limit = told.threshold
    alarms = [one for one in told.goods if one > limit]
    stopped = [one for one in told.defects if one > limit]
    missed = sorted(one for one in told.defects if one <= limit)
    if len(missed) >= FEW:
        return _lower(told, missed)
    found: list[Proposal] = []
    why: list[str] = []
    if len(alarms) >= FEW:
        lowest = min(stopped, default=math.inf)
        ended = [one for one in alarms if one < min(lowest, told.other)]
        if missed:
            why.append("missed")
        elif len(stopped) < FEWEST:
            why.append("defects")
        elif len(ended) >= FEW:
            value = _between(max(ended), min(lowest, told.other))
            rates = Rate(len(ended), len(alarms)), Rate(0, len(stopped))
            found.append(Proposal("raise", value, limit, *rates))
        if told.other < lowest and any(told.other < one < lowest for one in alarms):
            why.append("waiting")
    return found, why


def _lower(told: Told, missed: Sequence[float]) -> tuple[list[Proposal], list[str]]:
    most = Told.reach(told.passed)
    floor = told.top[most - 1] if len(told.top) >= most else -math.inf  # one too many
    had = [one for one in missed if one > floor]
    if len(had) < FEW:
        return [], ["alike"]
    below = [one for one in told.top if one < had[0]]
    value = _between(max(below, default=math.nextafter(had[0], -math.inf)), had[0])
    added = Rate(sum(one > value for one in told.top), told.passed)
    made = Proposal("lower", value, told.threshold, added, Rate(len(had), len(missed)))
    return [made], ["alike"] if len(had) < len(missed) else []


def _between(low: float, high: float) -> float:
    """A value that passes ``low`` and stops ``high``."""
    middle = low + (high - low) / 2
    return middle if low <= middle < high else low
