"""What passes as an update and what does not: a NaN, another shape, last round's model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update, check_update
from fedpatchcore.learned.plan import LocalPlan

LIKE = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}
GOOD = Update("east", 4, {k: np.ones_like(v) for k, v in LIKE.items()}, 10, 8, 8.0)
PLAN = LocalPlan(2, 3, 0.1)


def with_array(**arrays) -> Update:
    return replace(GOOD, change={**GOOD.change, **arrays})


def test_a_good_update_passes() -> None:
    check_update(GOOD, LIKE, 4, plan=PLAN)
    check_update(GOOD, LIKE, 6, oldest=4, plan=PLAN)
    check_update(replace(GOOD, control=GOOD.change), LIKE, 4, plan=PLAN, control=True)


def spoilt(value: float) -> np.ndarray:
    found = np.zeros((2, 3), np.float32)
    found[1, 2] = value
    return found


BAD = [
    ("holds nan at 'w'", with_array(w=spoilt(np.nan))),
    ("holds inf at 'w'", with_array(w=spoilt(-np.inf))),
    ("holds 2e\\+09 at 'w'", with_array(w=spoilt(2e9))),
    (
        "is float32 \\[3, 2\\] at 'w', the model is float32 \\[2, 3\\]",
        with_array(w=np.ones((3, 2), np.float32)),
    ),
    ("is float64 \\[3\\] at 'b'", with_array(b=np.ones(3))),
    ("other parameters than the model \\(more\\)", with_array(more=np.ones(1, np.float32))),
    ("other parameters than the model \\(b\\)", replace(GOOD, change={"w": GOOD.change["w"]})),
    ("starts from the model of round 3, but models of round 4 are wanted", replace(GOOD, round=3)),
    ("starts from the model of round 5", replace(GOOD, round=5)),
    ("unasked control variate", replace(GOOD, control=GOOD.change)),
    ("8 steps on 0 examples", replace(GOOD, examples=0)),
    ("0 steps on 10 examples", replace(GOOD, steps=0)),
    ("9 steps on 10 examples, which make 8", replace(GOOD, steps=9, weight=9.0)),
    ("a weight of nan", replace(GOOD, weight=float("nan"))),
    ("a weight of 0", replace(GOOD, weight=0.0)),
    ("a weight of 0.001 where 8 steps weigh 8", replace(GOOD, weight=0.001)),
]


@pytest.mark.parametrize(("told", "update"), BAD, ids=[told for told, _ in BAD])
def test_a_bad_update_is_refused_in_a_line_that_names_the_site(told: str, update: Update) -> None:
    with pytest.raises(TrainingError, match=told) as caught:
        check_update(update, LIKE, 4, plan=PLAN)
    assert "'east'" in str(caught.value) and "\n" not in str(caught.value)


def test_a_control_variate_is_checked_like_an_update() -> None:
    with pytest.raises(TrainingError, match="without a control variate"):
        check_update(GOOD, LIKE, 4, control=True)
    bad = replace(GOOD, control={**GOOD.change, "w": spoilt(np.nan)})
    with pytest.raises(TrainingError, match="the control variate of site 'east' holds nan"):
        check_update(bad, LIKE, 4, control=True)


def test_an_update_may_be_as_stale_as_it_is_said() -> None:
    with pytest.raises(TrainingError, match="models of rounds 5 to 9 are wanted"):
        check_update(GOOD, LIKE, 9, oldest=5)
