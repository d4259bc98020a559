"""Work done ahead by threads, results taken in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["automatic_workers", "in_order"]

_In = TypeVar("_In")
_Out = TypeVar("_Out")
FEW, MANY = 8, 16
PREFIX = "fedpatchcore-ahead"  # of the threads' names


def automatic_workers(gpu: bool) -> int:
    """Decoding threads when none are asked for: every other core, at most `FEW`.

    Beside a GPU, which is waiting for them, every core, at most `MANY`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MANY, cores) if gpu else min(FEW, cores // 2))


def in_order(
    work: Callable[[_In], _Out], items: Iterable[_In], *, workers: int, ahead: int
) -> Iterator[_Out]:
    """``work(item)`` of each item, in the items' order, computed by ``workers`` threads.

    At most ``ahead`` results wait, so memory is bounded however slow the consumer is. An
    error of ``work`` is raised when its turn comes. However the iteration ends (exhausted,
    closed early, an error, Ctrl-C), what has not begun is dropped and no thread stays.

    ``workers=0`` works in the calling thread and nothing runs ahead.
    """
    if not workers:
        yield from map(work, items)
        return
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=PREFIX)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
