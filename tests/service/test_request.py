"""What a site is asked, as it came over the socket: read exactly, or refused in a short line."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import WorkerError
from fedpatchcore.service.bodies import pack_body, unpack_body
from fedpatchcore.service.request import LONGEST_TEXT, Request, brief, packet_from
from fedpatchcore.wire.packet import Packet

ASKED = Request(
    "train",
    {"coreset-size": 30, "target-fpr": 0.05, "dp": "off", "deltas": True},
    Packet(
        {"plate": np.arange(6, dtype=np.float32).reshape(2, 3)},
        {"seconds": [1.5, math.nan], "count": [3]},
        {"round": 2, "run": "r", "run-folder": "runs/r", "products": ["plate", "ring"]},
    ),
    run="77",
    traceparent="00-ab-cd-01",
)


def travelled(request: Request) -> Request:
    told, arrays = unpack_body(pack_body(request.told(), request.packet.arrays))
    return Request.from_told({**told, "traceparent": request.traceparent}, arrays)


def test_a_request_comes_back_and_has_the_same_digest() -> None:
    found = travelled(ASKED)
    assert repr(found.told()) == repr(ASKED.told())
    assert found.packet.arrays["plate"].tobytes() == ASKED.packet.arrays["plate"].tobytes()
    assert (found.round, found.run_name, found.run_folder) == (2, "r", "runs/r")
    assert found.traceparent == ASKED.traceparent
    assert found.digest == ASKED.digest


def test_the_digest_is_of_all_that_an_answer_depends_on() -> None:
    rows = ASKED.packet.arrays["plate"]
    others = [
        replace(ASKED, verb="evaluate"),
        replace(ASKED, run="78"),
        replace(ASKED, settings={**ASKED.settings, "seed": 1}),
        *(
            replace(ASKED, packet=replace(ASKED.packet, arrays=arrays))
            for arrays in (
                {},
                {"plate": rows + 1},
                {"plate": rows.astype(np.float64)},
                {"plate": rows.reshape(3, 2)},
                {"ring": rows},
                {"plate": rows.view(np.int32)},
                {"plate": rows, "ring": rows},
            )
        ),
        replace(ASKED, packet=replace(ASKED.packet, numbers={"count": [3]})),
        replace(ASKED, packet=replace(ASKED.packet, texts={**ASKED.packet.texts, "round": 3})),
    ]
    digests = {ASKED.digest, *(one.digest for one in others)}
    assert len(digests) == 1 + len(others)
    assert replace(ASKED, traceparent="another").digest == ASKED.digest  # the same question
    swapped = dict(reversed(ASKED.settings.items()))
    assert replace(ASKED, settings=swapped).digest == ASKED.digest
    odd = Packet({"a": np.zeros((0, 3), np.float32), "b": np.array(1.0), "c": rows.T})
    assert len(Request("facts", {}, odd).digest) == 64


GOOD = ASKED.told()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verb": "shell"}, "a site is asked facts, train, sums, evaluate, tune, not 'shell'"),
        ({"verb": "v" * 10**6}, "not 'v"),
        ({"verb": None}, "not 'None'"),
        ({"settings": None}, "no table 'settings'"),
        ({"settings": []}, "no table 'settings'"),
        ({"numbers": 3}, "no table 'numbers'"),
        ({"texts": "x"}, "no table 'texts'"),
        ({"settings": {"a": {"b": 1}}}, "'a' of 'settings' is neither"),
        ({"settings": {"a": None}}, "'a' of 'settings' is neither"),
        ({"texts": {"a": [["b"]]}}, "'a' of 'texts' is neither"),
        ({"texts": {"a\n12:00:00 INFO": None}}, r"'a\?12:00:00 INFO' of 'texts'"),
        ({"numbers": {"a": 1}}, "'a' of 'numbers' is no list of numbers"),
        ({"numbers": {"a": ["1"]}}, "'a' of 'numbers' is no list of numbers"),
        ({"numbers": {"a": [True]}}, "'a' of 'numbers' is no list of numbers"),
        ({"numbers": {"n" * 10**6: [True]}}, "of 'numbers' is no list of numbers"),
        ({"texts": {"n" * 10**6: None}}, "of 'texts' is neither"),
    ],
)
def test_what_is_no_request_is_refused_in_a_short_line(changed: dict, words: str) -> None:
    with pytest.raises(WorkerError, match=words) as told:
        Request.from_told({**GOOD, **changed}, {})
    assert len(str(told.value)) < 200
    assert str(told.value).isprintable()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["verb", "run", "settings", "numbers", "texts", "traceparent", "x"])


@given(told=st.dictionaries(KEYS, values))
def test_any_table_is_a_request_or_refused(told: dict) -> None:
    told = json.loads(json.dumps({"verb": "facts", **told}))
    try:
        request = Request.from_told(told, {})
    except WorkerError as error:
        assert "\n" not in str(error)
        return
    assert len(request.digest) == 64
    assert isinstance(request.round, int)
    assert len(request.run) <= 80
    assert request.run.isprintable()


def test_a_text_has_a_longest() -> None:
    class Long(str):
        def __len__(self) -> int:
            return LONGEST_TEXT + 1

    with pytest.raises(WorkerError, match="neither"):
        packet_from({"numbers": {}, "texts": {"bank": Long()}}, {})


def test_what_somebody_wrote_cannot_forge_a_line() -> None:
    forged = "1\n12:00:00 INFO [plant-a] \x1b[2Jall is well\u2028"
    assert brief(forged) == "1?12:00:00 INFO [plant-a] ?[2Jall is well?"
    assert len(brief("x" * 10**6)) == 80
    assert Request.from_told({**GOOD, "run": forged}, {}).run == brief(forged)
