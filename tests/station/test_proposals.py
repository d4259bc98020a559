"""What people's words would have a threshold be: golden cases, counts anew, the interval."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from fedpatchcore.station.proposals import FEWEST, MOST_ADDED, Told, proposed

DEFECTS = [5.0 + at / 10 for at in range(FEWEST)]


def told(
    defects: Sequence[float],
    goods: Sequence[float],
    passed: Sequence[float] = (),
    waiting: Sequence[float] = (),
    limit: float = 2.0,
) -> Told:
    top = sorted((one for one in passed if one <= limit), reverse=True)
    other = min(waiting, default=math.inf)
    reach = top[: Told.reach(len(top))]
    return Told(limit, defects, goods, other, len(waiting), reach, len(top))


def test_higher_is_half_way_between_the_last_good_part_and_the_first_defect() -> None:
    (one,), why = proposed(told(DEFECTS, [2.1, 2.5, 3.0, 1.0, 6.0]))
    assert (one.kind, one.value, one.before, why) == ("raise", 4.0, 2.0, [])
    assert (one.alarms.count, one.alarms.of) == (3, 4)  # one good part scores like defects
    assert (one.defects.count, one.defects.of) == (0, FEWEST)
    assert one.defects.interval[1] == pytest.approx(1 - 0.05 ** (1 / FEWEST))  # 13.9%


@pytest.mark.parametrize(
    ("defects", "goods", "waiting", "why"),
    [
        (DEFECTS[1:], [2.1, 2.5, 3.0], [], ["defects"]),
        ([*DEFECTS, 1.5], [2.1, 2.5, 3.0], [], ["missed"]),
        (DEFECTS, [2.1, 2.5, 3.0], [2.05], ["waiting"]),  # nobody looked at it
        (DEFECTS, [2.1, 2.5, 3.0], [2.6], ["waiting"]),  # two below it are too few
        (DEFECTS, [2.1, 2.5], [], []),
        ([], [], [], []),
        ([], [2.1, 2.5, 3.0], [], ["defects"]),
    ],
)
def test_nothing_is_raised_without_words_enough(defects, goods, waiting, why) -> None:
    assert proposed(told(defects, goods, waiting=waiting)) == ([], why)


def test_a_part_that_nobody_looked_at_bounds_what_is_released() -> None:
    (one,), why = proposed(told(DEFECTS, [2.1, 2.3, 2.5, 3.5], waiting=[3.0, 9.0]))
    assert (one.value, one.alarms.count, why) == (2.75, 3, ["waiting"])


def test_lower_stops_what_people_found_and_tells_what_else() -> None:
    passed = [at / 100 for at in range(1, 200)]  # to 1.99
    (one,), why = proposed(told([1.95, 1.97, 1.99, 5.0], [2.5] * 9, passed))
    assert (one.kind, why) == ("lower", []) and 1.94 < one.value < 1.95
    assert (one.alarms.count, one.alarms.of) == (5, 199)
    assert (one.defects.count, one.defects.of) == (3, 3)


def test_a_defect_like_the_good_parts_is_told_and_moves_nothing() -> None:
    passed = [at / 100 for at in range(1, 200)]
    (one,), why = proposed(told([0.5, 1.95, 1.97, 1.99], [], passed))
    assert 1.94 < one.value < 1.95 and why == ["alike"]
    assert (one.defects.count, one.defects.of) == (3, 4)
    assert proposed(told([0.5, 0.6, 1.97], [], passed)) == ([], ["alike"])
    assert proposed(told([1.97, 1.99], [], passed)) == ([], [])  # two may be slips of a key


@pytest.mark.parametrize("seed", range(40))
def test_what_is_told_is_what_a_count_finds(seed: int) -> None:
    """Over random parts: each figure anew from all of them, and what may never be."""
    chance = random.Random(seed)
    limit, shift = 2.0, chance.uniform(0, 3)
    parts = [
        (round(chance.gauss(1.5, 0.4), 2), chance.choice(["", "", "", "good"])) for _ in range(400)
    ]
    parts += [
        (round(chance.gauss(2.5 + shift, 0.7), 2), chance.choice(["defect"] * 9 + ["unsure"]))
        for _ in range(60)
    ]
    if seed % 2:  # all that was stopped was looked at
        parts = [(s, "good" if s > limit and not word else word) for s, word in parts]
    defects, goods = ([s for s, w in parts if w == word] for word in ("defect", "good"))
    waiting = [s for s, w in parts if s > limit and w in ("", "unsure")]
    found, _ = proposed(told(defects, goods, [s for s, _ in parts], waiting))
    for one in found:
        moved = [(s, w) for s, w in parts if min(one.value, limit) < s <= max(one.value, limit)]
        if one.kind == "raise":
            assert {w for _, w in moved} == {"good"} and one.alarms.count == len(moved) >= 3
            assert one.defects.of == len(defects) >= FEWEST and min(defects) > one.value
        else:
            passed = [s for s, _ in parts if s <= limit]
            assert (one.alarms.count, one.alarms.of) == (len(moved), len(passed))
            assert len(moved) <= MOST_ADDED * len(passed)
            assert one.defects.count == sum(w == "defect" for _, w in moved) >= 3
    assert len(found) <= 1


def test_the_interval_of_further_defects_holds_although_these_chose_the_value() -> None:
    """Drawn anew 4,000 times: how often a value is proposed by which more pass than is told."""
    chance, shares = np.random.default_rng(7), []
    for _ in range(4000):
        defects = chance.uniform(2, 3, FEWEST)  # a uniform score: the share below v is v − 2
        goods = chance.uniform(2, 2 + chance.uniform(0, 0.5), 40)
        found, _ = proposed(told(list(defects), list(goods)))
        shares += [one.value - 2 for one in found]
    assert len(shares) > 500
    beyond = sum(one > 1 - 0.05 ** (1 / FEWEST) for one in shares) / 4000
    assert 0 < beyond <= 0.05
