"""The last resort against what fills memory: an error in this process, not the kernel's choice.

Without a limit the system ends whichever process it likes once the machine is full, without a
word. With it the one that asks for too much is told so: a reply is refused by its site's name
(`server_app.grid`), and what is no reply's fault ends the run with a line that says why.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fedpatchcore.aggregation.memory import machine_memory
from fedpatchcore.errors import FedPatchCoreError

__all__ = ["memory_limited", "told"]

SHARE = 0.9  # of the machine, or of the container


@contextmanager
def memory_limited(most: int = 0) -> Iterator[None]:
    """While it lasts this process takes at most ``most`` bytes; 0 = `SHARE` of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    known = [most or int(SHARE * machine_memory()), soft, hard]
    known = [one for one in known if one != resource.RLIM_INFINITY]
    with suppress(ValueError, OSError):  # where the system refuses, it has a limit of its own
        resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def told(error: Exception) -> str:
    """Why a run ends with this error, for a person."""
    if isinstance(error, MemoryError):
        most = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return (
            f"memory is spent: the server's process may take {most / 1e9:.3g} GB, {SHARE:.0%} of "
            "this machine's memory: give it more, or lower coreset-size, global-bank-size or "
            "server-memory-gb; the run can be resumed"
        )
    return str(error) if isinstance(error, FedPatchCoreError) else repr(error)
