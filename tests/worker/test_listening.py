"""A worker's socket: who may ask, what is refused, and who waits for whom."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service import frames
from fedpatchcore.service.frames import Kind, read_frame, write_frame
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker import listening as module
from tests.support.callers import (
    ASKED,
    Gate,
    as_another,
    connected,
    echo,
    honest,
    in_thread,
    request_body,
)
from tests.support.field import until
from tests.support.workers import listening

# -- a worker that is there --------------------------------------------------------------------


def test_a_request_is_answered_and_health_told(path: Path) -> None:
    with listening(path, echo) as served:
        assert served.link().answer(ASKED) == Packet(texts={"run": "7"})
        told = served.link().health()
        assert (told["site"], told["state"]) == ("plant-a", "idle")
        assert path.stat().st_mode & 0o777 == 0o666  # who may ask is judged by who connects
    assert not path.exists()


def test_phases_are_told_while_the_work_goes_on(path: Path, quick) -> None:
    gate, lines = Gate(), []
    with listening(path, gate) as served:
        thread, got = in_thread(served.link(say=lines.append))
        until(lambda: "worker: extract" in lines, 10, "no phase was told")
        gate.go.set()
        thread.join(10)
    assert got == [Packet(texts={"run": "7"})]
    assert lines.count("worker: extract") == 1


def test_two_nodes_with_one_question_have_one_answer_and_two_have_two(path: Path, quick) -> None:
    gate = Gate()
    with listening(path, gate) as served:
        asked = [*(in_thread(served.link()) for _ in range(3))]
        until(lambda: served.jobs.working and served.jobs.working.callers == 3, 10, "not all there")
        asked.append(in_thread(served.link(), Request("facts", {}, ASKED.packet, run="8")))
        until(lambda: served.jobs.waiting == 1, 10, "the other does not wait")
        gate.go.set()
        for thread, _ in asked:
            thread.join(10)
        runs = [got[0].texts["run"] for _, got in asked]
        assert runs == ["7", "7", "7", "8"]
        assert [job.request.run for job in served.seen] == ["7", "8"]


def test_a_full_queue_lets_a_node_wait_and_turns_away_one_without_patience(
    path: Path, quick
) -> None:
    gate, lines = Gate(), []
    with listening(path, gate, queue=0) as served:
        first, _ = in_thread(served.link())
        until(lambda: served.jobs.working, 10, "not in work")
        other = Request("facts", {}, ASKED.packet, run="8")
        with pytest.raises(WorkerAway, match=r"worker is busy \(its queue=0 is full\): ask again"):
            served.link().answer(other)
        patient, got = in_thread(served.link(patience=30, say=lines.append), other)
        until(lambda: bool(lines), 10, "nothing was said")
        gate.go.set()
        first.join(10)
        patient.join(10)
    assert got == [Packet(texts={"run": "8"})]
    assert lines[0].startswith("worker busy (its queue=0 is full), waiting up to ")
    assert len([line for line in lines if line.startswith("worker busy")]) == 1  # once


# -- callers that leave ---------------------------------------------------------------------------


def test_the_work_of_a_caller_that_died_waits_for_it(path: Path, quick) -> None:
    gate = Gate()
    with listening(path, gate) as served:
        with connected(path) as dying:
            write_frame(dying, Kind.REQUEST, body=request_body())
            assert read_frame(dying).kind == Kind.PROGRESS
        until(lambda: [job.callers for job in served.seen] == [0], 10, "nobody noticed")
        gate.go.set()
        until(lambda: served.jobs.kept == 1, 10, "the work was lost")
        with connected(path) as again:
            write_frame(again, Kind.REQUEST, body=request_body())
            frame = read_frame(again)  # at once, without a word of progress
        assert (frame.kind, frame.told["texts"]) == (Kind.ANSWER, {"run": "7"})
        assert served.link().answer(ASKED) == Packet(texts={"run": "7"})
        assert len(served.seen) == 1


def test_a_request_that_is_taken_back_is_given_up(path: Path, quick) -> None:
    with listening(path, Gate()) as served:
        with connected(path) as caller:
            write_frame(caller, Kind.REQUEST, body=request_body())
            until(lambda: bool(served.seen), 10, "not in work")
            write_frame(caller, Kind.CANCEL)
        until(lambda: not served.jobs.working and served.seen, 10, "it goes on")
        assert b"took the request back" in served.seen[0].body
        assert served.jobs.kept == 0


def test_a_request_taken_back_by_one_who_leaves_at_once_is_given_up(
    path: Path, quick, monkeypatch
) -> None:
    """The worker looks before the word is there, and its own next word meets a closed socket."""
    gone = threading.Event()

    class Late:
        @staticmethod
        def select(*_: object) -> tuple[list, list, list]:
            gone.wait(10)
            return [], [], []

    monkeypatch.setattr(module, "select", Late)
    monkeypatch.setattr(module, "BEAT", 0.0)
    with listening(path, Gate()) as served:
        with connected(path) as caller:
            write_frame(caller, Kind.REQUEST, body=request_body())
            until(lambda: bool(served.seen), 10, "not in work")
            write_frame(caller, Kind.CANCEL)
        gone.set()
        until(lambda: not served.jobs.working, 10, "it goes on")
        assert b"took the request back" in served.seen[0].body


def test_work_ends_when_its_answer_can_no_longer_be_used(path: Path, quick) -> None:
    with listening(path, Gate()) as served:
        with pytest.raises(WorkerError, match="time that this message was given is over"):
            answer = served.link(seconds=0.3).answer(ASKED)
            raise WorkerError(answer.texts["failure"].replace("the request", "this message"))
        until(lambda: not served.jobs.working, 10, "it goes on")
    with listening(path, Gate(), longest=0.2) as served:  # the site's own bound
        answer = served.link(seconds=10_000).answer(ASKED)
        assert "the time that the request was given is over" in answer.texts["failure"]


def test_a_node_whose_time_is_over_does_not_wait_for_a_worker(path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerAway, match="no socket there"):
        Link(path, patience=600, seconds=0.1).answer(ASKED)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("seconds", ["NaN", "-1", "1e999", '"x"', "null", "true", "9" * 400])
def test_a_callers_patience_may_be_anything(path: Path, seconds: str) -> None:
    told = request_body(seconds=12345.678).replace(b"12345.678", b"@")
    head = int.from_bytes(told[:8], "little")
    seconds = seconds.replace('"', '\\"')
    header = told[8 : 8 + head].replace(b"@", seconds.encode()).rstrip()
    sent = len(header).to_bytes(8, "little") + header + told[8 + head :]
    with listening(path, echo) as served, connected(path) as caller:
        write_frame(caller, Kind.REQUEST, body=sent)
        frame = read_frame(caller)
        while frame.kind == Kind.PROGRESS:
            frame = read_frame(caller)
        assert frame.kind == Kind.ANSWER
        assert len(served.seen) == 1


# -- hostile callers ----------------------------------------------------------------------------


@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_whatever_a_caller_sends_the_next_is_answered(served, data) -> None:
    whole = request_body()
    good = frames.HEAD.pack(b"FPCW", 1, Kind.REQUEST, 0, len(whole)) + whole
    how = data.draw(st.sampled_from(["random", "head", "cut", "turned", "longer"]))
    if how == "random":
        sent = data.draw(st.binary(max_size=300))
    elif how == "head":
        kind, length = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 2**64 - 1))
        sent = frames.HEAD.pack(b"FPCW", 1, kind, 0, length) + data.draw(st.binary(max_size=50))
    elif how == "cut":
        sent = good[: data.draw(st.integers(0, len(good) - 1))]
    elif how == "turned":
        turned = bytearray(good)
        for at in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=5)):
            turned[at] ^= 1 << data.draw(st.integers(0, 7))
        sent = bytes(turned)
    else:
        sent = good + data.draw(st.binary(min_size=1, max_size=50))
    with connected(served.path) as caller, contextlib.suppress(OSError):
        caller.sendall(sent)
        if data.draw(st.booleans()):
            caller.shutdown(socket.SHUT_WR)
    honest(served)


@pytest.fixture
def served(path: Path):
    with listening(path, echo) as found:
        yield found


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no message of FedPatchCore"),
        (struct.pack("<4sBBHQ", b"FPCW", 9, 2, 0, 0), r"different protocols \(9, here 1\)"),
        (struct.pack("<4sBBHQ", b"FPCW", 1, 99, 0, 0), "unknown kind 99"),
        (struct.pack("<4sBBHQ", b"FPCW", 1, 2, 0, 1 << 50), r"67,108,864 is the most taken here"),
        (struct.pack("<4sBBHQ", b"FPCW", 1, 5, 0, 2) + b"{}", "is sent a request, not refused"),
        (struct.pack("<4sBBHQ", b"FPCW", 1, 2, 0, 9) + b"x" * 9, "damaged"),
    ],
)
def test_a_refusal_says_why_and_is_logged(served, sent: bytes, words: str, caplog) -> None:
    caplog.set_level(logging.INFO)
    with connected(served.path) as caller:
        caller.sendall(sent)
        frame = read_frame(caller)
    assert frame.kind == Kind.REFUSED
    assert not frame.told["again"]
    honest(served)
    until(lambda: "refused" in caplog.text, 5, "not logged")
    for text in (frame.told["reason"], caplog.text):
        assert re.search(words, text), text


@pytest.mark.parametrize(
    "told",
    [
        {"verb": "read"},
        {"verb": "v" * 10**6},
        {"numbers": {"n" * 10**6: "x"}},
        {"texts": {"x\n99:99:99 forged": None}},
        {"settings": None},
    ],
)
def test_what_is_no_request_is_refused_in_a_line(served, told: dict, caplog) -> None:
    with connected(served.path) as caller:
        write_frame(caller, Kind.REQUEST, body=request_body(**told))
        frame = read_frame(caller)
    assert frame.kind == Kind.REFUSED
    assert len(frame.told["reason"]) < 300
    honest(served)
    assert "\n99:99:99" not in caplog.text


def test_slow_and_silent_callers_hold_nobody_up(path: Path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "SILENCE", 0.5)
    monkeypatch.setattr(frames, "SLOWEST", 1e9)
    with listening(path, echo, queue=2) as served:
        slow = [connected(path) for _ in range(2 + module.SPARE)]
        for one in slow[::2]:
            one.sendall(frames.HEAD.pack(b"FPCW", 1, Kind.REQUEST, 0, 1000))
        honest(served)  # all places are taken, until they fall silent for too long
        until(lambda: caplog.text.count("fell silent") == len(slow), 10, "some still hold a place")
        for one in slow:
            one.close()


def test_a_message_larger_than_is_taken_is_refused_by_its_head(path: Path) -> None:
    with listening(path, echo, largest=1 << 20) as served:
        large = Request("train", {}, Packet({"rows": np.zeros(1 << 21, np.float32)}))
        with pytest.raises(WorkerError, match=r"a message of 8,\d+,\d+ bytes.*largest-message"):
            served.link(patience=60).answer(large)
        honest(served)
        assert [job.request.verb for job in served.seen] == ["facts"]


# -- who may ask ----------------------------------------------------------------------------------

root_alone = pytest.mark.skipif(os.getuid() != 0, reason="another user takes root")


@root_alone
def test_another_user_is_refused_by_the_kernels_word_and_logged(path: Path, caplog) -> None:
    path.parent.chmod(0o755)
    with listening(path, echo, users=frozenset({4321})) as served:
        told = as_another(path)
        assert told.startswith("WorkerError the worker of site 'plant-a' does not serve user ")
        assert "name that user in its worker.toml (users)" in told
        assert not served.seen
        assert "refused user " in caplog.text
        assert as_another(path, 4321) == "{'run': 'theirs'}\n"
        assert len(served.seen) == 1


@root_alone
def test_a_folder_that_the_user_may_not_enter_is_said(path: Path) -> None:
    path.parent.chmod(0o700)
    with listening(path, echo):
        assert "this user may not open" in as_another(path)


def test_a_workers_own_user_may_ask(path: Path) -> None:
    with listening(path, echo) as served:
        assert served.listener._users == {0, os.getuid()}
        honest(served)
