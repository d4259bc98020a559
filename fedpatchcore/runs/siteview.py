"""One site of a run as seen from outside: its state in plain words, and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedpatchcore.metrics.verdicts import Verdict
from fedpatchcore.runs.events import decided

__all__ = ["SiteView", "figure"]

Event = Mapping[str, Any]


def figure(value: Any) -> float | None:
    """A fact as a finite number; None if it is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


@dataclass
class SiteView:
    """One site: its state, and what its replies add up to.

    Attributes:
        state: words for people; LOST, REJECTED or GONE first, then the reason.
        found: training images it named at the roll call.
        expected: seconds that it then thought features of all images to take, and the bytes of
            them that it holds at a time; 0: not told.
        shown: the least share of a product's pictures that a crop shows there; 0: all.
        replies: facts of its train reply, by round.
        results: facts of its evaluate reply, by round.
    """

    name: str
    state: str = "waiting"
    found: int | None = None
    expected: tuple[float, int] = (0.0, 0)
    shown: float = 0.0
    replies: dict[int, Event] = field(default_factory=dict)
    results: dict[int, Event] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """True for a site that was lost or refused, and takes no part in the round."""
        return self.state.startswith(("LOST", "REJECTED"))

    @property
    def away(self) -> bool:
        """True for a site that went away in the middle of its work and is waited for."""
        return self.state.startswith("GONE")

    def _total(self, key: str) -> float:
        return sum(figure(facts.get(key)) or 0 for facts in self.replies.values())

    def _in_bank(self, key: str) -> int | None:
        """Sum since the last full reply, which replaces all that was sent before it."""
        if not self.replies or any(f.get("kind") == "sums" for f in self.replies.values()):
            return None
        full = max((n for n, f in self.replies.items() if f.get("kind") == "full"), default=0)
        return int(sum(figure(f.get(key)) or 0 for n, f in self.replies.items() if n >= full))

    @property
    def images(self) -> int | None:
        """Training images it has, held-out and unreadable ones among them.

        Before the first reply those it found; None where a private site withholds them.
        """
        taught = self.taught
        if taught is None:
            return None if self.replies and self.epsilon is not None else self.found or None
        last = self.replies[max(self.replies)]
        return taught + sum(int(figure(last.get(key)) or 0) for key in ("held_out", "bad"))

    @property
    def taught(self) -> int | None:
        """Images represented in the bank; None before the first reply, and where withheld."""
        last = self.replies[max(self.replies)] if self.replies else {}
        told = last.get("represented")
        if told is None or (last.get("epsilon") is not None and not told):
            return None
        return int(told)

    @property
    def patches(self) -> int | None:
        """Patches its selections saw."""
        return self._in_bank("patches")

    @property
    def rows(self) -> int | None:
        """Rows it shipped that the server holds."""
        return self._in_bank("rows")

    @property
    def megabytes(self) -> float | None:
        """Shipped in all rounds, on the wire, in units of 10^6 bytes."""
        if not self.replies:
            return None
        told = (f.get("wire_bytes", f.get("bytes")) for f in self.replies.values())
        return sum(figure(n) or 0 for n in told) / 1e6

    @property
    def seconds(self) -> float | None:
        """Its work in all rounds: extraction, selection, evaluation."""
        if not self.replies and not self.results:
            return None
        judged = sum(figure(facts.get("seconds")) or 0 for facts in self.results.values())
        total = self._total("extract_seconds") + self._total("select_seconds") + judged
        return None if not total and self.epsilon is not None else total  # withheld

    @property
    def epsilon(self) -> float | None:
        """Privacy loss it last told; None where no mechanism is at work."""
        told = [figure(self.replies[n].get("epsilon")) for n in sorted(self.replies)]
        return next((value for value in reversed(told) if value is not None), None)

    @property
    def verdict(self) -> Verdict | None:
        """Over its products in the last round it was evaluated; None where it told none."""
        return decided(self.results[max(self.results)]) if self.results else None

    @property
    def image_auroc(self) -> float | None:
        """Mean over its products in the last round it was evaluated; None where undefined."""
        for number in sorted(self.results, reverse=True):
            told = [figure(v) for v in (self.results[number].get("image_auroc") or {}).values()]
            if figures := [v for v in told if v is not None]:
                return math.fsum(figures) / len(figures)
        return None
