"""Where long work can be given up: between images, batches and folds, never inside a release.

The work calls `checkpoint`; whoever started it decides inside `haltable` whether it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["checkpoint", "haltable"]

_check: ContextVar[Callable[[], None] | None] = ContextVar("fedpatchcore_halting", default=None)


def checkpoint() -> None:
    """Raises `fedpatchcore.errors.Halted` if this work shall end here."""
    if check := _check.get():
        check()


@contextmanager
def haltable(check: Callable[[], None]) -> Iterator[None]:
    """Let ``check``, which raises Halted, be asked at every checkpoint of this thread."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)
