"""How much memory the server may use for rows at one time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.errors import ConfigError

__all__ = ["UNLIMITED", "Memory", "machine_memory"]

USUAL = 2 * 10**9
CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of this machine, or of the container that this process runs in if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(cgroup.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return total


@dataclass(frozen=True)
class Memory:
    """What the rows of one section may take while they are merged, copies included.

    Attributes:
        wanted: bytes to stay within where that is possible.
        limit: bytes that must not be exceeded.
    """

    wanted: int
    limit: int

    @classmethod
    def of(cls, gigabytes: float, machine: int | None = None) -> Memory:
        """By the setting ``server-memory-gb``.

        0 is automatic: a quarter of the machine and at most 2 GB, and up to half of the machine
        for what cannot do with less.
        """
        if gigabytes:
            return cls(int(gigabytes * 1e9), int(gigabytes * 1e9))
        machine = machine or machine_memory()
        return cls(min(USUAL, machine // 4), max(min(USUAL, machine // 4), machine // 2))

    def require(self, needed: int, what: str, fix: str) -> int:
        """``wanted``, or ``needed`` if that is more; ConfigError if it is above ``limit``."""
        if needed > self.limit:
            raise ConfigError(
                f"{what} takes about {needed / 1e9:.3g} GB of memory and "
                f"{self.limit / 1e9:.3g} GB are allowed: raise server-memory-gb, {fix}"
            )
        return max(self.wanted, needed)


UNLIMITED = Memory(2**62, 2**62)
