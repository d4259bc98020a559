"""Candidates and what sites say of them: there and back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.bounds import CANDIDATES
from fedpatchcore.wire.packet import Packet, SiteFailure, pack_failure
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.tuning import (
    TriedOut,
    TuneQuestion,
    TuneReply,
    pack_tune_question,
    unpack_tune,
    unpack_tune_question,
)

QUESTION = TuneQuestion(({}, {"image-size": 448, "geometry": "full"}, {"neighbours": 3}), 24)
LINE = TriedOut("bolt", 0, 24, 70, 0.8, 0.7, 0.9, 0.05, 10**9)
REPLY = TuneReply("north", (LINE, replace(LINE, candidate=2)), {1: "no weights"}, 12.5)


def test_there_and_back() -> None:
    assert unpack_tune_question(pack_tune_question(QUESTION)) == QUESTION
    assert unpack_tune(pack(REPLY), QUESTION) == REPLY
    nothing = TuneReply("north", (), {0: "a", 1: "b", 2: "c"})
    assert unpack_tune(pack(nothing), QUESTION) == nothing
    with pytest.raises(SiteFailure, match="out of disk"):
        unpack_tune(pack_failure("north", OSError("out of disk")), QUESTION)


@pytest.mark.parametrize(
    "line",
    [
        {"product": ""},
        {"product": "a\nb"},
        {"candidate": 3},
        {"candidate": -1},
        {"candidate": True},
        {"candidate": 1},  # which is said to be left out
        {"candidate": 2},  # which is told already
        {"images": 25},
        {"images": 0},
        {"planted": 0},
        {"auroc": 1.2},
        {"auroc": float("nan")},
        {"auroc": 0.95},  # beside its interval
        {"low": -0.1},
        {"seconds": float("inf")},
        {"memory": -1},
        {"memory": 1.5},
    ],
    ids=str,
)
def test_figures_that_no_trial_gives_are_refused(line: dict) -> None:
    bad = replace(REPLY, tried=(replace(LINE, **line), REPLY.tried[1]))
    with pytest.raises(CoresetError, match="an answer to candidates that cannot be read"):
        unpack_tune(pack(bad), QUESTION)


@pytest.mark.parametrize("left", [{5: "x"}, {0: "tried, and left out"}])
def test_what_is_left_out_was_asked_for_and_not_tried(left: dict) -> None:
    with pytest.raises(CoresetError):
        unpack_tune(pack(replace(REPLY, left_out=left)), QUESTION)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["{}"] * (CANDIDATES + 1),
        "{}",
        ["[]"],
        ["{"],
        [json.dumps({"a": [1]})],
        [json.dumps({"a": {"b": 1}})],
        ["[" * 4000],
        [json.dumps({"a": "x" * 3000})],
        [3],
        ['{"a": NaN}'],
    ],
    ids=lambda t: str(t)[:20],
)
def test_questions_that_are_none_are_refused(texts) -> None:
    with pytest.raises(CoresetError, match="candidates that cannot be read"):
        unpack_tune_question(Packet(numbers={"images": [24]}, texts={"candidates": texts}))
    with pytest.raises(CoresetError):
        unpack_tune_question(Packet(numbers={"images": [0]}, texts={"candidates": ["{}"]}))
