"""The ledger charges before it draws, never draws twice, and keeps to the budget."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import composed_epsilon
from fedpatchcore.privacy.ledger import Ledger
from tests.support.ledgers import DELTA, ONE, key_of, never, put, request


def test_a_release_is_charged_kept_and_returned(ledger: Ledger) -> None:
    released = put(ledger, "a", ["i2", "i1", "i2"])
    assert not released.again
    assert released.spent == pytest.approx(1) and released.spent <= 1
    np.testing.assert_array_equal(released.arrays["sums"], [[1, 2, 3], [4, 5, 6]])
    (charge,) = ledger.charges()
    assert charge == released.charge
    assert (charge.sequence, charge.id, charge.site) == (1, key_of("a"), "north")
    assert charge.images == ("i1", "i2")
    assert charge.previous == "0" * 64
    assert charge.time.endswith("+00:00")
    with pytest.raises(ValidationError):
        charge.epsilon = 0.0


def test_the_charge_is_on_disk_before_anything_is_drawn(ledger: Ledger) -> None:
    seen = []

    def draw() -> dict[str, np.ndarray]:
        seen.extend(json.loads(line)["id"] for line in ledger.path.read_text().splitlines())
        return {"x": np.zeros(1)}

    put(ledger, "a", draw=draw)
    assert seen == [key_of("a")]


def test_a_retry_returns_the_same_and_costs_nothing(ledger: Ledger) -> None:
    first = put(ledger, "a", budget=1.0)
    before = ledger.path.read_bytes()
    second = put(ledger, "a", budget=1.0, draw=never, run="run-2")
    assert second.again and second.charge == first.charge and second.spent == first.spent
    assert second.arrays.keys() == first.arrays.keys()
    np.testing.assert_array_equal(second.arrays["sums"], first.arrays["sums"])
    assert ledger.path.read_bytes() == before


def test_a_retry_after_images_changed_still_returns_what_was_drawn(ledger: Ledger) -> None:
    """Else the answer to a retry would tell that they changed."""
    first = put(ledger, "a")
    again = ledger.release(request("a", images=("i1",)), never, budget_epsilon=100, delta=DELTA)
    assert again.again and again.charge == first.charge
    np.testing.assert_array_equal(again.arrays["sums"], first.arrays["sums"])


@pytest.mark.parametrize("change", [{"multiplier": 9.0}, {"section": "ring"}, {"site": "south"}])
def test_a_key_stands_for_one_release_only(ledger: Ledger, change: dict) -> None:
    put(ledger, "a")
    with pytest.raises(PrivacyError, match="another release"):
        ledger.release(request("a", **change), never, budget_epsilon=100, delta=DELTA)


def test_a_spent_budget_refuses_before_anything_is_drawn(ledger: Ledger) -> None:
    put(ledger, "a", budget=1.4)
    before = ledger.path.read_bytes()
    with pytest.raises(PrivacyError) as refused:
        put(ledger, "b", ["i2", "i9"], budget=1.4, draw=never)
    assert ledger.path.read_bytes() == before
    told = str(refused.value)
    for part in ("north", "plate", "ε=1 is spent", "1 is asked", "of 1.4", "dp-budget-epsilon"):
        assert part in told
    assert "\n" not in told and "i2" not in told
    put(ledger, "c", ["i3"], budget=1.4)
    assert put(ledger, "a", budget=0.1, draw=never).again  # what was paid for stays paid for


def test_reused_images_compose_and_disjoint_ones_do_not(ledger: Ledger) -> None:
    assert put(ledger, 1, ["a", "b"], multiplier=3.0).spent == pytest.approx(
        composed_epsilon([3], DELTA)
    )
    assert put(ledger, 2, ["c", "d"], multiplier=3.0).spent == pytest.approx(
        composed_epsilon([3], DELTA)
    )
    both = put(ledger, 3, ["b", "c", "e"], multiplier=2.0)
    assert both.spent == pytest.approx(composed_epsilon([3, 2], DELTA), rel=1e-9)
    assert ledger.spent(DELTA) == both.spent
    assert ledger.spent(DELTA, ["a", "d"]) == pytest.approx(composed_epsilon([3], DELTA))
    assert ledger.spent(DELTA, ["e"]) == pytest.approx(composed_epsilon([2], DELTA))
    assert ledger.spent(DELTA, ["unknown"]) == ledger.spent(DELTA, []) == 0


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from("abcdef"), min_size=1), st.sampled_from([1.5, 3.0, 8.0])
        ),
        max_size=8,
    )
)
def test_spent_is_the_worst_image_and_never_above_the_budget(
    releases: list[tuple[frozenset[str], float]],
) -> None:
    budget = 4.0
    history: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for at, (images, multiplier) in enumerate(releases):
            ledger = Ledger(Path(folder))
            worst = max(composed_epsilon([*history[i], multiplier], DELTA) for i in images)
            if worst > budget:
                with pytest.raises(PrivacyError, match="budget"):
                    put(ledger, at, images, budget=budget, multiplier=multiplier, draw=never)
            else:
                done = put(ledger, at, images, budget=budget, multiplier=multiplier)
                assert done.spent == pytest.approx(worst, rel=1e-9)
                for image in images:
                    history[image].append(multiplier)
            expected = max((composed_epsilon(h, DELTA) for h in history.values()), default=0)
            assert Ledger(Path(folder)).spent(DELTA) == pytest.approx(expected, rel=1e-9)
            assert expected <= budget


def test_unprotected_images_have_no_budget_left(ledger: Ledger) -> None:
    note = {"run": "r", "site": "north", "section": "plate", "label": "nothing is protected"}
    ledger.note_unprotected(images=["i1"], **note)
    ledger.note_unprotected(images=["i1", "i1"], **note)
    (charge,) = ledger.charges()
    assert (charge.mechanism, charge.multiplier, charge.epsilon) == ("none", 0, math.inf)
    assert ledger.spent(DELTA) == math.inf
    with pytest.raises(PrivacyError, match="ε=inf is spent"):
        put(ledger, "a", ["i1", "i2"], budget=1000, draw=never)
    put(ledger, "b", ["i2"], budget=1)
    ledger.note_unprotected(images=["i1"], **{**note, "run": "r2"})
    assert [c.mechanism for c in ledger.charges()] == ["none", "cells", "none"]
    summary = ledger.summary(DELTA, 8)
    assert (summary["spent"], summary["left"]) == (math.inf, 0)
    assert summary["protected"] == "nothing is protected"


def test_the_summary_tells_no_image_and_no_count(ledger: Ledger) -> None:
    empty = ledger.summary(DELTA, 4)
    assert (empty["spent"], empty["left"], empty["begun"], empty["protected"]) == (0, 4, None, "")
    assert not ledger.root.exists()
    put(ledger, "a", [f"image-{at}" for at in range(77)])
    put(ledger, "b", ["image-3"], mechanism="per-vector", label="one row is protected")
    summary = ledger.summary(DELTA, 4)
    assert summary["spent"] == pytest.approx(composed_epsilon([ONE, ONE], DELTA))
    assert summary["left"] == pytest.approx(4 - summary["spent"])
    assert (summary["releases"], summary["unprotected"]) == (2, 0)
    assert summary["protected"] == "one row is protected"
    assert summary["begun"] == ledger.charges()[0].time
    assert "image-" not in str(summary) and "77" not in str(summary)


def test_a_hundred_thousand_images_are_quick(ledger: Ledger) -> None:
    images = [hashlib.sha256(str(at).encode()).hexdigest() for at in range(100_000)]
    start = time.process_time()
    for at in range(3):
        put(ledger, at, images[at * 10_000 :])
    assert ledger.spent(DELTA) == pytest.approx(composed_epsilon([ONE] * 3, DELTA))
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../../etc/passwd"},
        {"key": ""},
        {"images": ()},
        {"images": ("",)},
        {"multiplier": -1.0, "epsilon": 1.0},
        {"multiplier": math.inf, "epsilon": 1.0},
        {"mechanism": "magic"},
        {"mechanism": "none"},
        {"epsilon": math.nan},
        {"delta": 1.0},
    ],
)
def test_a_request_that_cannot_be_accounted_for_is_refused(change: dict) -> None:
    with pytest.raises(PrivacyError):
        request(**change)


@pytest.mark.parametrize(("budget", "delta"), [(0, DELTA), (math.nan, DELTA), (1, 0), (1, 1)])
def test_a_budget_that_means_nothing_is_refused(
    ledger: Ledger, budget: float, delta: float
) -> None:
    with pytest.raises(PrivacyError):
        ledger.release(request(), never, budget_epsilon=budget, delta=delta)
    assert not ledger.charges()
