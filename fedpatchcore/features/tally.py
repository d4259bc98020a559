"""What became of the images of one request, and how many bad ones are put up with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedpatchcore.errors import DataError

__all__ = ["BadImages", "Tally"]


@dataclass
class Tally:
    """What happened to the images of one request."""

    total: int = 0
    extracted: int = 0
    cached: int = 0
    bad: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Images that gave features."""
        return self.extracted + self.cached


class BadImages:
    """How many unreadable images a set may have: counts them, and says when it is too many."""

    def __init__(self, total: int, limit: float) -> None:
        self.total = total
        self.limit = limit
        self.found: list[tuple[Path | str, str]] = []

    def add(self, name: Path | str, reason: str) -> None:
        """Note one. Raises DataError once their share exceeds the limit."""
        self.found.append((name, reason))
        if len(self.found) > self.limit * self.total:
            first = "{}: {}".format(*self.found[0])
            raise DataError(
                f"{len(self.found)} of {self.total} images unreadable "
                f"(limit {100 * self.limit:g}%): first: {first}"
            )
