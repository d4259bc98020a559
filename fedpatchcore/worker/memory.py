"""Freed memory goes back to the system: a worker shares its machine between two requests."""

from __future__ import annotations

import ctypes
from contextlib import suppress

__all__ = ["give_back"]


def give_back() -> None:
    """Hand back what the C library keeps of freed memory; malloc_trim(3), glibc alone has it.

    Called between requests: asking the library to keep less at any time (mallopt(3)) costs an
    extraction nearly half as much again in page faults.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
