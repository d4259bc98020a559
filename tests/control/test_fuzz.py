"""Whatever is sent to any route: an answer below 500, an error in one line, never a trace.

FUZZ_REQUESTS=20000 for more than a look.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.web.pages import live
from tests.control.test_roles import routes
from tests.support.control import add_run, program, small_bank

NUMBERS = st.one_of(st.integers(-3, 3), st.integers(), st.just(2**63), st.just(-(2**63)))
WORDS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["plate", "north", "viewer", "yes", "0 2 * * *", "../..", "a\x00b", "%00"]),
    NUMBERS.map(str),
    st.text(max_size=2000),
)
NAMES = (
    *("name", "role", "site", "days", "product", "note", "anyway", "text", "why", "automatic"),
    *(
        "cron",
        "images",
        "preset",
        "like",
        "kind",
        "words",
        "digest",
        "day",
        "run",
        "page",
        "before",
    ),
    *("run-name", "num-rounds", "backbone", "keep", "next", "password", "again", "csrf"),
)
FIELDS = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=9)), WORDS, max_size=6)
BODIES = st.one_of(
    FIELDS.map(lambda told: ("form", told)),
    st.dictionaries(
        st.sampled_from(NAMES), st.one_of(WORDS, NUMBERS, st.floats(), st.booleans()), max_size=5
    ).map(lambda told: ("json", told)),
    st.binary(max_size=300).map(lambda told: ("raw", told)),
)
QUIET = settings(
    max_examples=int(os.environ.get("FUZZ_REQUESTS", "120")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def callers(room: Room, monkeypatch: pytest.MonkeyPatch):
    async def once(*_: object):
        yield "event: hello\n\n"

    monkeypatch.setattr(live, "changes", once)
    add_run(room, "one", bank=small_bank())
    room.mirror.look()
    room.registry.release(CONSOLE, 1, "plate", "")
    return program(room, "admin"), program(room, "site", "north")


def _send(caller: Any, method: str, path: str, query: dict, kind: str, body: Any) -> Any:
    told: dict[str, Any] = {"params": query}
    if method == "POST":
        if kind == "json":
            data = json.dumps(body).encode(errors="surrogatepass")
            told |= {"content": data, "headers": {"content-type": "application/json"}}
        elif kind == "raw":
            told |= {"content": body, "headers": {"content-type": "application/json"}}
        else:
            told["data"] = body
    return caller.request(method, path, **told)


def test_any_route_with_anything(callers) -> None:
    @QUIET
    @given(
        route=st.sampled_from(sorted(routes())),
        parts=st.lists(st.one_of(NUMBERS.map(str), WORDS), min_size=2, max_size=2),
        query=FIELDS,
        body=BODIES,
        one=st.sampled_from([0, 1]),
    )
    def send(
        route: tuple[str, str], parts: list[str], query: dict, body: tuple[str, Any], one: int
    ) -> None:
        method, path = route
        left = iter(parts)
        filled = re.sub(r"\{\w+\}", lambda _: quote(next(left), safe=""), path)
        answer = _send(callers[one], method, filled, query, *body)
        assert answer.status_code < 500, (answer.status_code, answer.text[:300])
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            assert "\n" not in answer.json()["error"]
        assert "Traceback" not in answer.text

    send()
