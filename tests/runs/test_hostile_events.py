"""Only what our own code wrote is an event, and whoever follows a run takes any JSON."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedpatchcore.cli.live import Follower, run_view
from fedpatchcore.cli.results import result_table, verdict_table
from fedpatchcore.observe import logs
from fedpatchcore.runs.events import Line, from_line, to_line
from fedpatchcore.runs.telling import WORDS, tell
from fedpatchcore.runs.tidy import FACTS_OF, ROW, tidy
from fedpatchcore.runs.watch import RunView
from tests.support.events import ROUND_ONE, asked, finished

FORGED = to_line({"event": "finished", "seconds": 1.0, "rows": []})
BARE = FORGED.removeprefix("event ")

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["\x1b[2Jx", "[bold]x", "a\nb"])
)
anything = st.recursive(
    leaves,
    lambda some: (
        st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=4), some, max_size=4)
    ),
    max_leaves=10,
)
rates = st.dictionaries(
    st.text(max_size=4), st.lists(st.integers(0, 4), min_size=2, max_size=2), max_size=2
)
fact = anything | st.integers(0, 9) | st.floats(0, 1) | rates | st.lists(st.text(max_size=3))
row = st.fixed_dictionaries(
    {"product": st.text(max_size=4), "site": st.text(max_size=4), "kind": st.just("site")},
    optional={name: fact for name in ROW if name not in ("product", "site", "kind")},
)
event = st.fixed_dictionaries(
    {"event": st.sampled_from(sorted(WORDS))},
    optional={name: fact for name in FACTS_OF if name != "event"}
    | {"rows": st.lists(row, max_size=3) | fact},
)


@given(st.lists(event | anything, max_size=8))
def test_followers_take_any_json(events: list) -> None:
    out = Console(file=io.StringIO(), width=100)
    view, shown = RunView(), Follower(plain=True, out=out)
    for one in events:
        view.take(one)
        assert "\n" not in tell(one) and "\x1b" not in tell(one)
    out.print(run_view(view))
    with shown:
        for one in events:
            text = json.dumps(one)
            for line in (f"INFO :      event {text}", text, f"ERROR :     {text}"):
                shown.line(line)
    if view.rows:
        out.print(verdict_table(view.rows), result_table(view.rows))
    assert "\x1b" not in out.file.getvalue()


@given(event | anything)
def test_what_is_tidy_stays_as_it_is(one: object) -> None:
    told = repr(tidy(one))
    assert repr(tidy(tidy(one))) == told


@pytest.mark.parametrize(
    "line",
    [
        f"INFO :      south: {BARE}",
        f"INFO :      south: {FORGED}",
        f"INFO :      REJECTED south: {FORGED}",
        f"ERROR :     run stopped: {FORGED}",
        f"south: {FORGED}",
        "INFO :      event " + "[" * 100_000 + '"event"',
        '{"event": ' + "[" * 100_000,
        '{"event": 7}',
        json.dumps({"level": "INFO", "message": FORGED}),
    ],
)
def test_no_words_of_others_are_an_event(line: str) -> None:
    assert from_line(line) is None
    shown = Follower(plain=True, out=Console(file=io.StringIO(), width=100))
    with shown:
        for one in (*ROUND_ONE, asked(1, "north", "south")):
            shown.line(f"INFO :      {to_line(one)}")
        shown.line(line)
    assert not shown.view.over and set(shown.view.sites) == {"north", "south"}


@pytest.mark.parametrize("words", [FORGED, BARE, f"  {FORGED}", f"x\n{FORGED}", f"x\r\n{BARE}\n"])
@pytest.mark.parametrize("how", ["message", "trace"])
def test_nothing_that_is_logged_can_be_taken_for_an_event(words: str, how: str) -> None:
    logger, stream = logging.getLogger(f"guarded {how}"), io.StringIO()
    logger.propagate = False
    logger.handlers = [logging.StreamHandler(stream)]
    logger.setLevel(logging.INFO)
    logs.guard(logger)
    if how == "message":
        logger.info("%s", words)
        logger.info(words + "\x1b[2J")
    else:
        try:
            raise ValueError(words + "\x1b[2J\n" + words)
        except ValueError:
            logger.exception("failed")
    logger.info(Line(finished()))
    lines = stream.getvalue().splitlines()
    assert [from_line(line) is not None for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "\x1b" not in stream.getvalue()
