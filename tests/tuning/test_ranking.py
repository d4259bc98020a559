"""Ranking: the figure is an AUROC, its interval is of pictures, gains are of the same resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.tuning.ranking import Ranked, front, ranked
from fedpatchcore.tuning.trial import Scores, Trial

SEEDS = some.integers(0, 2**32 - 1)


def scores(rng: np.random.Generator, n: int = 12, *, lift: float = 1.0, each: int = 3) -> Scores:
    good = rng.normal(size=n).round(1)  # with ties
    owner = rng.permutation(np.repeat(np.arange(n), each))[: n * each - 5]
    planted = (good[owner] + rng.normal(lift, 1, len(owner))).round(1)
    return Scores(
        tuple(good), tuple(planted), tuple(owner), tuple(range(len(owner))), tuple(range(n))
    )


def trial(*products: Scores, seconds: float = 1.0, memory: int = 10) -> Trial:
    named = {f"p{at}": one for at, one in enumerate(products)}
    return Trial(named, 12, seconds, memory, 2.0)


@given(SEEDS)
def test_the_figure_is_the_area_under_the_roc_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = scores(rng), scores(rng, 9)
    expected = [
        image_auroc([*s.good, *s.planted], [0] * len(s.good) + [1] * len(s.planted))
        for s in (one, other)
    ]
    (found,) = ranked({"a": trial(one, other)}, "a")
    assert found.auroc == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.low <= found.auroc + 1e-9 and found.auroc <= found.high + 0.02
    assert (found.gain, found.gain_low, found.gain_high) == (0, 0, 0)


def test_resamples_are_whole_pictures() -> None:
    """By hand: weights of the pictures in sums, against the pictures written out so often."""
    rng = np.random.default_rng(3)
    one = scores(rng, 6)
    drawn = np.array([2, 0, 1, 3, 0, 0])
    from fedpatchcore.tuning import ranking

    wins, planted = ranking._wins(one)
    by_weights = drawn @ wins @ drawn / ((drawn @ planted) * drawn.sum())
    good = np.repeat(one.good, drawn)
    bad = np.concatenate([[p] * drawn[o] for p, o in zip(one.planted, one.owner, strict=True)])
    labels = np.repeat([0, 1], [len(good), len(bad)])
    assert by_weights == pytest.approx(image_auroc(np.concatenate([good, bad]), labels))


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """AUROC of N(0, 1) against N(1, 1) with the picture's own part: Φ(1 / √(1 + 1 + 1)) here."""
    from statistics import NormalDist

    truth, held = NormalDist().cdf(1 / math.sqrt(3)), 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        good = rng.normal(size=40)
        owner = np.arange(40)
        planted = good + rng.normal(1, 1, 40)
        one = Scores(tuple(good), tuple(planted), tuple(owner), tuple(owner), tuple(owner))
        (found,) = ranked({"a": trial(one)}, "a", seed=seed)
        held += found.low <= truth <= found.high
    assert 0.80 * 120 <= held <= 0.97 * 120


def test_a_gain_is_of_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    base = scores(rng, 40)
    shifted = Scores(
        base.good, tuple(p + 0.4 for p in base.planted), base.owner, base.task, base.groups
    )
    found = {r.name: r for r in ranked({"told": trial(base), "more": trial(shifted)}, "told")}
    more = found["more"]
    assert more.better and more.gain_low > 0
    assert more.gained == (
        f"{more.gain:+.3f}",
        f"{more.gain_low:+.3f} to {more.gain_high:+.3f}",
    )
    assert more.gain_high - more.gain_low < 0.6 * (more.high - more.low)
    assert not found["told"].better
    alone = ranked({"more": trial(shifted)}, "told")[0]
    assert math.isnan(alone.gain) and not alone.better and alone.gained == ("–", "–")


def test_groups_are_drawn_together() -> None:
    """Twelve copies of one picture are one picture: an interval cannot see more than there is."""
    rng = np.random.default_rng(1)
    few = scores(rng, 4, each=4)
    n, m = len(few.good), len(few.planted)
    wide = Scores(
        few.good * 5,
        few.planted * 5,
        tuple(o + n * k for k in range(5) for o in few.owner),
        tuple(range(5 * m)),
        tuple(list(range(n)) * 5),
    )
    apart = Scores(wide.good, wide.planted, wide.owner, wide.task, tuple(range(5 * n)))
    one, two, three = (ranked({"a": trial(s)}, "a")[0] for s in (few, wide, apart))
    assert two.high - two.low == pytest.approx(one.high - one.low, abs=0.03)
    assert three.high - three.low < 0.7 * (one.high - one.low)


def test_the_front_is_what_nobody_beats() -> None:
    def one(name: str, auroc: float, seconds: float) -> Ranked:
        return Ranked(name, auroc, 0, 1, 0, 0, 0, seconds, 1, 9)

    every = [one("best", 0.9, 4), one("quick", 0.7, 1), one("beaten", 0.6, 2), one("mid", 0.8, 2)]
    assert [r.name for r in front(every)] == ["quick", "mid", "best"]
    assert [r.name for r in front([one("a", 0.5, 1), one("b", 0.5, 1)])] == ["a", "b"]
