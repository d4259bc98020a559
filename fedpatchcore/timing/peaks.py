"""The most memory that a piece of work took: of the process, and of a CUDA device.

Linux keeps a process's largest resident size and lets it be forgotten (proc(5), ``clear_refs``),
so each phase can be told apart. Elsewhere the largest size since the start is all there is.
Threads share these figures: of two phases at one time both show the larger peak.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Peak", "peak"]

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

_open: list[Peak] = []


@dataclass
class Peak:
    """Bytes, at most, while the work went on; 0 where unknown, or no CUDA device is in use.

    Of several devices it is that of which most was taken.
    """

    rss: int = 0
    cuda: int = 0

    def raised(self, other: Peak) -> None:
        """Take the larger of both."""
        self.rss, self.cuda = max(self.rss, other.rss), max(self.cuda, other.cuda)


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure a block; the yielded figures are complete at its end, also if it fails."""
    found = Peak()
    _note()  # what is forgotten now belongs to the blocks around this one
    with suppress(OSError):
        FORGET.write_text("5")
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    _open.append(found)
    try:
        yield found
    finally:
        _note()
        _open[:] = [one for one in _open if one is not found]


def _note() -> None:
    now = Peak(_largest_resident())
    if torch.cuda.is_initialized():
        every = range(torch.cuda.device_count())
        now.cuda = max(torch.cuda.max_memory_allocated(device) for device in every)
    for one in _open:
        one.raised(now)


def _largest_resident() -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = STATUS.read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
