"""The queue of a worker: one at a time, the same request once, answers kept within bounds."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from fedpatchcore.errors import Halted
from fedpatchcore.service.request import Request
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker import jobs as module
from fedpatchcore.worker.jobs import Busy, Job, Jobs
from tests.support.field import until

LONG = 3600.0


def asked(run: object, verb: str = "train") -> Request:
    return Request(verb, run=str(run))


def queue(of: int = 2, *, longest: float = LONG, keep_bytes: int = 10**6) -> Jobs:
    return Jobs(queue=of, longest=longest, keep_bytes=keep_bytes)


def echo(job: Job) -> tuple[bytes, bool]:
    return job.request.run.encode(), True


class Held:
    """Work that waits until it is let go, and notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go = threading.Event()
        self.at_once = self.most = 0

    def __call__(self, job: Job) -> tuple[bytes, bool]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.seen.append(job.request.run)
        assert self.go.wait(20)
        self.at_once -= 1
        return b"answer " + job.request.run.encode(), True


@pytest.fixture
def in_work() -> Callable[[Jobs], Held]:
    """Start work in a thread of its own; it ends with the test."""
    ends: list[Callable[[], None]] = []

    def start(of: Jobs) -> Held:
        held, end = Held(), threading.Event()

        def loop() -> None:
            while not end.is_set():
                of.work(held, 0.02)

        thread = threading.Thread(target=loop)
        thread.start()
        ends.append(lambda: (end.set(), held.go.set(), thread.join(20)))
        return held

    yield start
    for one in ends:
        one()


def test_one_at_a_time_in_order_and_a_bound_on_who_waits(in_work) -> None:
    of = queue(2)
    held = in_work(of)
    first = of.submit(asked(0), LONG)
    until(lambda: of.working is first, 10, "not in work")
    waiting = [of.submit(asked(at), LONG) for at in (1, 2)]
    assert (of.waiting, of.working.state) == (2, "working")
    with pytest.raises(Busy, match=r"queue=2 is full"):
        of.submit(asked(3), LONG)
    assert of.submit(asked(0), LONG) is first  # what is there already takes no room
    assert of.submit(asked(2), LONG) is waiting[1]
    held.go.set()
    until(lambda: all(job.state == "done" for job in (first, *waiting)), 10, "not done")
    assert held.seen == ["0", "1", "2"]
    assert held.most == 1
    assert [job.body for job in waiting] == [b"answer 1", b"answer 2"]
    of.submit(asked(3), LONG)


@pytest.mark.parametrize("size", [0, 1])
def test_a_worker_that_rests_takes_one_more_than_may_wait(size: int) -> None:
    of = queue(size)
    for at in range(size + 1):
        of.submit(asked(at), LONG)
    with pytest.raises(Busy):
        of.submit(asked("more"), LONG)


def test_the_same_request_is_worked_on_once_and_answered_from_memory() -> None:
    of, seen = queue(), []

    def do(job: Job) -> tuple[bytes, bool]:
        seen.append(job.request.run)
        return echo(job)

    first = of.submit(asked("a"), LONG)
    assert of.submit(asked("a"), LONG) is first
    assert first.callers == 2
    assert of.work(do, 0)
    assert of.submit(asked("a"), LONG) is first
    assert (first.state, first.body) == ("done", b"a")
    assert not of.work(do, 0)
    assert seen == ["a"]
    of.submit(asked("a", "evaluate"), LONG)  # another question
    assert of.work(do, 0)
    assert seen == ["a", "a"]


def test_a_refusal_is_not_kept() -> None:
    of = queue()
    first = of.submit(asked("a"), LONG)
    of.work(lambda job: (b"no", False), 0)
    assert (first.state, first.body, of.kept) == ("done", b"no", 0)
    assert of.submit(asked("a"), LONG) is not first


def answered(of: Jobs, *runs: object, body: Callable[[Job], tuple[bytes, bool]] = echo) -> None:
    for run in runs:
        of.submit(asked(run), LONG)
        assert of.work(body, 0)


def is_kept(of: Jobs, run: object) -> bool:
    """Whether an answer is there; asking for one that is not leaves no trace."""
    job = of.submit(asked(run), LONG)
    if job.state != "done":
        of.left(job, cancel=True)
    return job.state == "done"


def test_answers_kept_are_bounded_in_number() -> None:
    of = queue()
    answered(of, *range(module.KEPT + 3))
    assert of.kept == module.KEPT
    assert [is_kept(of, run) for run in (0, 2, 3, module.KEPT + 2)] == [False, False, True, True]
    assert of.waiting == 0


def test_answers_kept_are_bounded_in_bytes_and_the_last_stays() -> None:
    of = queue(keep_bytes=250)
    answered(of, *"abcd", body=lambda job: (job.request.run.encode() * 100, True))
    assert [is_kept(of, run) for run in "abcd"] == [False, False, True, True]
    answered(of, "large", body=lambda job: (b"x" * 10_000, True))
    assert [is_kept(of, run) for run in ("c", "d", "large")] == [False, False, True]


def test_answers_kept_are_bounded_in_age(monkeypatch: pytest.MonkeyPatch) -> None:
    of, now = queue(), [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    answered(of, "old")
    now[0] += module.KEPT_SECONDS - 1
    assert is_kept(of, "old")
    answered(of, "new")
    now[0] += 2
    assert [is_kept(of, run) for run in ("old", "new")] == [False, True]


def test_answers_are_let_go_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was taken after five minutes, one that waits for its caller after an hour."""
    of, now = queue(), [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    answered(of, "taken", "not taken")
    of.submit(asked("taken"), LONG).given = True
    for seconds, kept in (
        (module.GIVEN_SECONDS - 1, 2),
        (2, 1),
        (module.KEPT_SECONDS - module.GIVEN_SECONDS - 2, 1),
        (2, 0),
    ):
        now[0] += seconds
        assert not of.work(echo, 0)  # as a worker at rest looks for work
        assert of.kept == kept


def test_what_was_asked_is_let_go_with_the_work() -> None:
    of, packet = queue(), Packet({"bank": np.zeros(1000)}, {}, {"bank": "x"})
    held = weakref.ref(packet.arrays["bank"])
    request = Request("evaluate", {"seed": 1}, packet, "a")
    job = of.submit(request, LONG)
    del request, packet
    assert held() is not None
    assert of.work(lambda job: (b"rows", True), 0)
    gc.collect()
    assert held() is None
    again = Request(
        "evaluate", {"seed": 1}, Packet({"bank": np.zeros(1000)}, {}, {"bank": "x"}), "a"
    )
    assert of.submit(again, LONG) is job  # and is known again all the same
    again = Request(
        "evaluate", {"seed": 1}, Packet({"bank": np.ones(1000)}, {}, {"bank": "x"}), "a"
    )
    assert of.submit(again, LONG) is not job


def test_work_goes_on_while_anybody_waits() -> None:
    of = queue()
    job = of.submit(asked("a"), LONG)
    of.submit(asked("a"), LONG)
    of.left(job, cancel=True)
    job.check()  # the other one still waits
    of.left(job)  # it died: the work is for when it comes back
    job.check()
    assert of.work(echo, 0)
    assert of.kept == 1


def test_a_request_taken_back_is_given_up_and_its_place_is_free() -> None:
    of = queue(0)
    job = of.submit(asked("a"), LONG)
    with pytest.raises(Busy):
        of.submit(asked("b"), LONG)
    of.left(job, cancel=True)
    with pytest.raises(Halted, match="took the request back"):
        job.check()
    assert of.submit(asked("a"), LONG) is not job  # asked for anew, and there is room
    assert of.work(echo, 0)
    assert not of.work(echo, 0)  # what was taken back is not done


def test_taken_back_while_in_work_is_not_kept_and_asked_again_is_done_again() -> None:
    of, again = queue(), []

    def do(job: Job) -> tuple[bytes, bool]:
        of.left(job, cancel=True)
        again.append(of.submit(asked("a"), LONG))
        return b"late", True

    first = of.submit(asked("a"), LONG)
    assert of.work(do, 0)
    assert of.kept == 0
    assert again[0] is not first
    assert of.work(echo, 0)
    assert again[0].body == b"a"


def test_time_that_was_given_ends_and_a_second_caller_extends_it() -> None:
    of = queue(longest=5.0)
    job = of.submit(asked("a"), 0.0)
    time.sleep(0.01)
    with pytest.raises(Halted, match="time that the request was given is over"):
        job.check()
    of.submit(asked("a"), LONG)
    job.check()
    assert job.until - time.monotonic() <= 5.0  # however patient a caller is


def test_callers_hear_of_phases() -> None:
    of = queue()
    job = of.submit(asked("a"), LONG)
    heard: list[tuple[str, str]] = []
    known = ("", "")

    def do(job: Job) -> tuple[bytes, bool]:
        with job.watch("extract", {"images": 7}):
            until(lambda: ("working", "extract") in heard, 10, "the phase was not told", every=0.01)
        return b"done", True

    thread = threading.Thread(target=of.work, args=(do, 1))
    thread.start()
    while known[0] != "done":
        known = job.wait(known, 5)
        heard.append(known)
    thread.join()
    assert heard[-1] == ("done", "extract")
    assert "7" not in repr(heard)  # no count of images leaves before the answer


def test_many_callers_of_few_requests(in_work) -> None:
    """Whatever the order of threads: each request is done once and everybody gets its answer."""
    of = queue(8)
    held = in_work(of)
    held.go.set()
    got: list[tuple[str, bytes]] = []

    def call(run: str) -> None:
        job, known = of.submit(asked(run), LONG), ("", "")
        while known[0] != "done":
            known = job.wait(known, 5)
        got.append((run, job.body))
        of.left(job)

    threads = [threading.Thread(target=call, args=(str(at % 6),)) for at in range(60)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert len(got) == 60
    assert all(body == f"answer {run}".encode() for run, body in got)
    assert sorted(held.seen) == [str(at) for at in range(6)]
