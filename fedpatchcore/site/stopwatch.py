"""What a site's work on a message took: seconds and memory, of extracting and of selecting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedpatchcore.timing.peaks import Peak, peak
from fedpatchcore.timing.phases import Facts, phase

__all__ = ["Stopwatch"]


@dataclass
class Stopwatch:
    """Wall seconds spent extracting and selecting, and the most memory that each took."""

    extract: float = 0.0
    select: float = 0.0
    extract_peak: Peak = field(default_factory=Peak)
    select_peak: Peak = field(default_factory=Peak)

    @property
    def memory(self) -> tuple[int, int, int, int]:
        """Bytes: of the process while extracting and selecting, then of its CUDA device."""
        one, other = self.extract_peak, self.select_peak
        return one.rss, other.rss, one.cuda, other.cuda

    def moved(self, seconds: float) -> None:
        """So many seconds of selecting went on while extracting."""
        self.extract -= seconds
        self.select += seconds

    @contextmanager
    def extracting(self) -> Iterator[Facts]:
        """Count a block as the phase "extract"; the table takes its counts."""
        started = time.perf_counter()
        with phase("extract") as facts, peak() as most:
            yield facts
        self.extract_peak.raised(most)
        self.extract += time.perf_counter() - started

    @contextmanager
    def selecting(self) -> Iterator[Facts]:
        """Count a block as the phase "select"; the table takes its counts."""
        started = time.perf_counter()
        with phase("select") as facts, peak() as most:
            yield facts
        self.select_peak.raised(most)
        self.select += time.perf_counter() - started
