"""Work that no answer waits for: in order, behind the rest, bounded, and never fatal."""

from __future__ import annotations

import threading

from fedpatchcore.worker.afterwards import AT_ONCE, Afterwards


def test_pieces_are_done_in_order_by_a_thread_of_low_priority() -> None:
    later, done = Afterwards(), []
    assert later.finish(0)  # nothing was ever due
    for at in range(5):
        later(lambda at=at: done.append((at, threading.current_thread().name)))
    assert later.finish(10)
    assert done == [(at, "afterwards") for at in range(5)]
    assert later.due == 0


def test_whoever_hands_over_too_much_waits() -> None:
    later, go, through = Afterwards(), threading.Event(), threading.Event()
    for _ in range(AT_ONCE):
        later(lambda: go.wait(20))

    def one_more() -> None:
        later(lambda: None)
        through.set()

    thread = threading.Thread(target=one_more)
    thread.start()
    assert not through.wait(0.2)
    assert later.due == AT_ONCE
    assert not later.finish(0.05)
    go.set()
    assert through.wait(10)
    assert later.finish(10)
    thread.join()


def test_a_piece_that_breaks_is_logged_and_the_next_is_done(caplog) -> None:
    later, done = Afterwards(), []

    def broken() -> None:
        raise ValueError("a picture that cannot be drawn")

    for _ in range(2 * AT_ONCE):  # more than there is room for, had they kept it
        later(broken)
    later(lambda: done.append(True))
    assert later.finish(10)
    assert done == [True]
    assert caplog.text.count("broke off") == 2 * AT_ONCE
