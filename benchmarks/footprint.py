"""Peak memory of groups of processes: proportional set sizes, added up several times a second.

A page that several processes share counts in each by its share (``Pss`` of
/proc/PID/smaps_rollup), so sums over processes are what the machine really gives.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

__all__ = ["Footprint", "below", "in_containers"]

CONTAINER = re.compile(r"[0-9a-f]{64}")


class Footprint(threading.Thread):
    """Samples until it is left.

    Args:
        groups: process numbers by what they are, asked anew each time.

    Attributes:
        peak: MB by group, each at its own moment.
        together: MB of all groups at the moment when that was most.
    """

    def __init__(self, groups: Callable[[], Mapping[str, Iterable[int]]], seconds: float = 0.3):
        super().__init__(daemon=True)
        self.peak: dict[str, float] = {}
        self.together = 0.0
        self._groups, self._seconds = groups, seconds
        self._end = threading.Event()

    def __enter__(self) -> Footprint:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        """Look again and again."""
        while not self._end.wait(self._seconds):
            now = {name: sum(map(_pss, pids)) for name, pids in self._groups().items()}
            for name, size in now.items():
                self.peak[name] = max(self.peak.get(name, 0.0), size)
            self.together = max(self.together, sum(now.values()))


def below(pid: int) -> list[int]:
    """All processes that this one started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            kids = [int(one) for one in (task / "children").read_text().split()]
        except OSError:
            continue
        for kid in kids:
            found += [kid, *below(kid)]
    return found


def in_containers(names: Mapping[str, str]) -> dict[str, list[int]]:
    """Processes by container; ``names`` gives what each full container id is called."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = CONTAINER.search((entry / "cgroup").read_text())
        except OSError:
            continue
        if told and told.group() in names:
            found.setdefault(names[told.group()], []).append(int(entry.name))
    return found


def _pss(pid: int) -> float:
    """MB; 0 of a process that ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0
