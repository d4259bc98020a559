"""Where work names its phases (extract, select, score, evaluate, plant) for whoever watches.

The work knows no watcher: it opens ``phase("extract")`` and notes a few numbers in the table
it gets. Without watchers that is all that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["Facts", "Watcher", "phase", "watched"]

Facts = dict[str, Any]
Watcher = Callable[[str, Facts], AbstractContextManager[None]]

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("fedpatchcore_watchers", default=())


@contextmanager
def phase(name: str) -> Iterator[Facts]:
    """A block of work; the yielded table takes its counts, which are complete at its end."""
    facts: Facts = {}
    with ExitStack() as stack:
        for watcher in _watchers.get():
            stack.enter_context(watcher(name, facts))
        yield facts


@contextmanager
def watched(*watchers: Watcher) -> Iterator[None]:
    """Let these be told of every phase inside the block, in this thread."""
    token = _watchers.set(watchers)
    try:
        yield
    finally:
        _watchers.reset(token)
