"""The watch: what it knows after how many parts, what sets it off, what it names as the cause."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from fedpatchcore.drift.causes import Moved, likeliest
from fedpatchcore.drift.watch import FIGURES, Part, Rules, Watch

USUAL = {"score": (2.0, 0.2), "uncovered": (0.1, 0.01), "sharpness": (20.0, 1.0)}
USUAL["brightness"] = (120.0, 3.0)


class Line:
    """Parts of a made-up line."""

    def __init__(self, seed: int = 1, **how: object) -> None:
        self.chance, self.number = random.Random(seed), 0
        self.watch = Watch(Rules(**how.pop("rules", {})), **how)

    def part(self, stopped: float = 0.0, **times: float) -> Part:
        self.number += 1
        told = {name: times.get(name, 1.0) * self.chance.gauss(*USUAL[name]) for name in FIGURES}
        return Part(self.number, self.chance.random() < stopped, told)

    def go(self, count: int, stopped: float = 0.0, **times: float) -> list:
        return [one for _ in range(count) for one in self.watch.take(self.part(stopped, **times))]

    def until(self, most: int = 300, stopped: float = 0.0, **times: float):
        for at in range(most):
            if found := self.watch.take(self.part(stopped, **times)):
                return at + 1, found[0]
        return None


def test_nothing_is_said_before_the_reference_is_there() -> None:
    line = Line()
    assert line.go(99, stopped=0.3) == [] and not line.watch.ready
    assert line.watch.usual() is None and line.watch.sums == {}
    line.go(60, stopped=0.3)
    assert line.watch.ready and line.watch.rate[1] - line.watch.rate[0] == 100


def test_an_undisturbed_line_stays_quiet() -> None:
    alarms = sum(len(Line(seed).go(1100, stopped=0.02)) for seed in range(10))
    assert alarms <= 4  # of 10,000 parts


@pytest.mark.parametrize(
    ("times", "cause"),
    [
        ({"sharpness": 0.6}, "focus"),
        ({"sharpness": 0.6, "score": 1.4, "uncovered": 2.0}, "focus"),
        ({"brightness": 0.8, "sharpness": 0.8}, "light"),
        ({"brightness": 1.2, "score": 1.3}, "light"),
        ({"sharpness": 1.4}, "grain"),
        ({"score": 1.3, "uncovered": 2.0}, "parts"),
        ({"uncovered": 1.5}, "parts"),
    ],
)
def test_a_change_is_seen_within_a_dozen_parts_and_its_cause_is_named(
    times: dict[str, float], cause: str
) -> None:
    for seed in range(5):
        line = Line(seed)
        line.go(100)
        after, signal = line.until(**times)
        assert after <= 12 and signal.cause == cause, (after, signal)
        assert signal.since >= 100 - 3 and signal.parts[-1] == line.number


def test_a_lens_so_dirty_that_every_part_is_stopped_is_no_defect() -> None:
    for seed in range(5):
        line = Line(seed)
        line.go(117, stopped=0.02)  # in the middle of a group
        after, signal = line.until(stopped=1.0, sharpness=0.6)
        assert after <= 12 and signal.cause == "focus"
        calm = Line(seed)
        calm.go(117, stopped=0.02)
        assert calm.until(stopped=1.0)[1].cause == "defects"


def test_more_stopped_parts_are_told_before_their_group_is_full() -> None:
    line = Line()
    line.go(110, stopped=0.02)
    line.watch.restart()
    after, signal = line.until(stopped=0.5)
    assert after < 30 and (signal.chart, signal.side, signal.cause) == ("rate", "up", "defects")
    stopped, of, most = signal.counts
    assert stopped == most + 1 and of == after
    assert line.go(50 - after, stopped=0.5) == []  # and once a group
    assert line.watch.groups[-1][2] == 50


def test_fewer_stopped_parts_are_told_when_the_group_is_full() -> None:
    line = Line()
    line.go(200, stopped=0.5)
    line.watch.restart()
    after, signal = line.until(stopped=0.0)
    assert after == 50 and (signal.side, signal.cause) == ("down", "fewer")


def test_before_the_reference_the_promise_is_held_against_or_the_bank_before() -> None:
    line = Line(promised=0.05)
    after, signal = line.until(stopped=0.4)
    assert after < 40 and signal.cause == "promise" and not line.watch.ready
    calm = Line(promised=0.05, before=(40, 100))
    assert calm.until(90, stopped=0.4) is None  # as usual here


def test_training_images_say_at_once_how_pictures_look() -> None:
    line = Line()
    chance = random.Random(0)
    looks = {name: [chance.gauss(*USUAL[name]) for _ in range(40)] for name in FIGURES[2:]}
    assert not Line().watch.learn_looks({name: few[:19] for name, few in looks.items()})
    assert line.watch.learn_looks(looks)
    after, signal = line.until(sharpness=0.5)
    assert after < 10 and signal.cause == "focus" and not line.watch.ready
    ready = Line()
    ready.go(100)
    assert not ready.watch.learn_looks(looks)  # parts came first


def test_a_watch_goes_on_where_it_was_from_what_is_kept() -> None:
    one = Line(4)
    one.go(130, stopped=0.1)
    kept = json.loads(json.dumps(one.watch.told(), allow_nan=False))
    other = Line(4)
    other.chance.setstate(one.chance.getstate())
    other.number, other.watch = one.number, Watch.of(kept)
    assert other.watch == one.watch
    parts = [one.part(0.1, score=1.2) for _ in range(60)]
    assert [one.watch.take(p) for p in parts] == [other.watch.take(p) for p in parts]
    assert one.watch == other.watch


@pytest.mark.parametrize("damage", [{}, {"rules": {}}, {"sums": 3, "rules": {"x": 1}}])
def test_what_is_kept_and_is_none_is_refused(damage: dict) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Watch.of(damage)


def test_what_is_kept_stays_small() -> None:
    line = Line(rules={"reference": 100})
    line.go(3000, stopped=0.1)
    assert len(json.dumps(line.watch.told())) < 60_000


def test_without_a_threshold_nothing_is_stopped_and_scores_are_watched() -> None:
    line = Line()
    for _ in range(100):
        line.watch.take(replace(line.part(), stopped=None))
    assert line.watch.ready
    found = [line.watch.take(replace(line.part(score=1.5), stopped=None)) for _ in range(12)]
    assert any(found) and line.watch.groups == []


def test_light_that_dims_both_is_no_dirty_lens() -> None:
    dim = {"sharpness": Moved(20, 14, -4.0), "brightness": Moved(100, 70, -5.0)}
    assert likeliest("sharpness", "down", dim) == "light"
    dirty = {"sharpness": Moved(20, 9, -7.0), "brightness": Moved(100, 70, -5.0)}
    assert likeliest("brightness", "down", dirty) == "focus"
