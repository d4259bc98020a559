"""Memory that this machine, or the group that the process runs in, has free."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["free_memory"]

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes, by Linux (proc(5), cgroups(7)); 0 where nothing is known."""
    free = 0
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text().splitlines()
        free = 1024 * int(
            next(line for line in lines if line.startswith("MemAvailable:")).split()[1]
        )
    with suppress(OSError, ValueError):
        most = int((GROUP / "memory.max").read_text())
        left = most - int((GROUP / "memory.current").read_text())
        return max(1, min(free, left) if free else left)
    return free
