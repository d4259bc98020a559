"""Shares of few images, with what they may truly be.

Intervals are Clopper & Pearson's (Biometrika, 1934): whatever the true share is, they hold it at
least nine times in ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["SURE", "Rate", "percent", "spanned"]

SURE = 0.9


@dataclass(frozen=True)
class Rate:
    """``count`` of so many images."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """In [0, 1]; NaN of no images."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Of the true share, at 90%; (0, 1) of no images."""
        return self.within(SURE)

    def within(self, sure: float) -> tuple[float, float]:
        """Interval that holds the true share at least so often, ``sure`` in (0, 1)."""
        from scipy.special import betaincinv  # a heavy import, and a command may need no interval

        if not self.of:
            return 0.0, 1.0
        tail, missing = (1 - sure) / 2, self.of - self.count
        low = float(betaincinv(self.count, missing + 1, tail)) if self.count else 0.0
        high = float(betaincinv(self.count + 1, missing, 1 - tail)) if missing else 1.0
        return low, high

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.count + other.count, self.of + other.of)

    def told(self) -> dict[str, float | int | None]:
        """As ``metrics.json`` and ``--json`` keep it."""
        low, high = self.interval
        share = self.share if self.of else None
        return {"count": self.count, "of": self.of, "share": share, "low": low, "high": high}

    @property
    def counts(self) -> str:
        """``7 of 8``: nothing of what few images prove; a dash of no images."""
        return f"{self.count:,} of {self.of:,}" if self.of else "–"

    @property
    def brief(self) -> str:
        """``7 of 8 (53%–99%)``: without the share, so that tables stay narrow."""
        return f"{self.counts} ({spanned(*self.interval)})" if self.of else "–"

    def __str__(self) -> str:
        """``3 of 40 (7.5%, 2.1%–18%)``; a dash of no images."""
        if not self.of:
            return "–"
        return f"{self.counts} ({percent(self.share)}, {spanned(*self.interval)})"


def percent(share: float) -> str:
    """Two digits that count: ``7.5%``, ``18%``, ``0.8%``; a dash where undefined."""
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    return f"{value:.1f}%" if 0.05 <= value < 9.95 else f"{value:.0f}%"


def spanned(low: float, high: float) -> str:
    """``2.1%–18%``."""
    return f"{percent(low)}–{percent(high)}"
