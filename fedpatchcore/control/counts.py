"""What was asked of the control room since its process began."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Counted", "Counts"]

BOUNDS = (0.01, 0.05, 0.2, 1.0, 5.0)  # seconds
ENDLESS = math.inf
OUTCOMES = ("sent", "unchanged", "gone")


@dataclass(frozen=True)
class Counted:
    """The counts of one moment; ``buckets`` are cumulative, by their upper bound in seconds."""

    pulls: Mapping[str, int]
    requests: Mapping[str, int]
    buckets: Sequence[tuple[str, int]]
    seconds: float


class Counts:
    """Requests and pulls since the process began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pulls: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.requests: Counter[str] = Counter()
        self.seconds = 0.0
        self.within: Counter[float] = Counter()

    def pulled(self, outcome: str) -> None:
        """A site asked for a bank: ``sent``, ``unchanged`` or ``gone``."""
        with self._lock:
            self.pulls[outcome] += 1

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            self.requests[str(status)] += 1
            self.seconds += seconds
            self.within[next((b for b in BOUNDS if seconds <= b), ENDLESS)] += 1

    def told(self) -> Counted:
        """As they stand at one moment."""
        with self._lock:
            buckets, total = [], 0
            for bound in (*BOUNDS, ENDLESS):
                total += self.within[bound]
                buckets.append(("+Inf" if bound == ENDLESS else str(bound), total))
            return Counted(dict(self.pulls), dict(self.requests), buckets, self.seconds)
