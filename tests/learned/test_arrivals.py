"""FedAsync and FedBuff: what an update counts by its staleness, in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.arrivals import STALENESS, FedAsync, FedBuff

ZERO = {"w": np.zeros(3, np.float32)}


def update(round: int, value: float, site: str = "a") -> Update:
    return Update(site, round, {"w": np.full(3, value, np.float32)}, 4, 1, 1.0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("constant", {0: 1, 1: 1, 9: 1}),
        ("poly", {0: 1, 3: 0.5, 8: 1 / 3}),
        ("hinge", {0: 1, 4: 1, 5: 1 / 11, 6: 1 / 21}),
    ],
)
def test_weights_by_staleness(name: str, weights: dict[int, float]) -> None:
    for late, weight in weights.items():
        assert STALENESS[name](late) == pytest.approx(weight)


def test_fedasync_mixes_on_arrival() -> None:
    """α = ½. In time: 0 → ½·1. Then one from model 1, late by 1, that says 1 as well."""
    rule = FedAsync(mix=0.5, staleness="poly", limit=5)
    x = rule.step(1, ZERO, [update(1, 1.0)])
    assert np.allclose(x["w"], 0.5) and rule.version == 2
    x = rule.step(2, x, [update(1, 1.0, "b")])
    share = 0.5 * 2**-0.5
    assert np.allclose(x["w"], (1 - share) * 0.5 + share * 1.0)
    x2 = rule.step(3, x, [update(3, 1.0, "c")])  # from the model as it is: x + ½·1
    assert np.allclose(x2["w"], x["w"] + 0.5)


def test_fedbuff_steps_when_its_buffer_is_full() -> None:
    rule = FedBuff(buffer=3, staleness="poly", limit=5, rate=2.0)
    x = rule.step(1, ZERO, [update(1, 1.0)])
    assert x is ZERO and rule.version == 1
    x = rule.step(1, x, [update(1, 2.0, "b"), update(1, 6.0, "c"), update(1, 4.0, "d")])
    assert np.allclose(x["w"], 2.0 * 9.0 / 3) and rule.version == 2
    x = rule.step(2, x, [update(2, 1.0), update(1, 1.0, "b")])  # "d" waits since model 2
    # "d" came when the model was at version 2 already: late by one as well
    share = 2**-0.5
    assert np.allclose(x["w"], 6.0 + 2 / 3 * (4.0 * share + 1.0 + share))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FedAsync(mix=0.5, staleness="poly", limit=2),
        lambda: FedBuff(buffer=1, staleness="poly", limit=2),
    ],
)
def test_what_is_too_stale_or_of_the_future_is_refused_and_changes_nothing(make) -> None:
    rule, x = make(), ZERO
    for version in (1, 2, 3, 4):
        x = rule.step(version, x, [update(version, 1.0)])
    assert rule.version == 5 and rule.oldest == 3
    rule.step(5, x, [update(3, 1.0, "b")])
    for round in (3, 7):
        before = rule.state()
        with pytest.raises(TrainingError, match=rf"'b' starts from model {round}, models 4 to 6"):
            rule.step(6, x, [update(6, 9.0), update(round, 1.0, "b")])
        after = rule.state()
        assert before.facts == after.facts
        assert all(np.array_equal(after.arrays[k], v) for k, v in before.arrays.items())
    with pytest.raises(TrainingError, match="version 4 was asked for, the model is at 6"):
        rule.step(4, x, [update(4, 1.0)])


def test_fedasync_keeps_no_more_models_than_it_needs() -> None:
    rule, x = FedAsync(mix=0.5, staleness="poly", limit=2), ZERO
    for version in range(1, 8):
        x = rule.step(version, x, [update(version, 1.0)])
    assert sorted(rule.models) == [6, 7, 8]
