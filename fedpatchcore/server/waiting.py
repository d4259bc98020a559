"""Nodes whose answers are waited for longer than a phase of a round: late ones, and those away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Gone", "Late"]

WENT_AWAY = (5, 8)  # Flower's codes: the node is offline; the ClientApp process died
TIMES_ASKED_AGAIN = 2


@dataclass(frozen=True)
class Late:
    """A message whose answer was not waited for.

    Attributes:
        round: it is of.
        trains: whether its answer is of use to a later round.
        sent, until: monotonic seconds; an answer after that is lost.
    """

    round: int
    trains: bool
    sent: float
    until: float


class Gone:
    """Nodes that went away in the middle of a message, and how long each is waited for."""

    def __init__(self, rejoin: float, end: float) -> None:
        self._rejoin = rejoin
        self._end = end
        self._replies: dict[int, tuple[Any, float]] = {}
        self._times: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._replies)

    def takes(self, node: int, reply: Any) -> bool:
        """Whether this reply says that the node went away and it shall be waited for."""
        if not self._rejoin or not reply.has_error() or reply.error.code not in WENT_AWAY:
            return False
        if self._times[node] == TIMES_ASKED_AGAIN:
            return False
        until = min(self._end, time.monotonic() + self._rejoin)
        self._replies[node] = (reply, until)
        return True

    def back(self, online: Iterable[int]) -> list[int]:
        """Nodes that are online again; they are no longer waited for."""
        found = [node for node in online if node in self._replies]
        for node in found:
            del self._replies[node]
            self._times[node] += 1
        return found

    def given_up(self, now: float = 0.0) -> list[tuple[int, Any]]:
        """Nodes whose time is over, with the reply that told of their end."""
        now = now or time.monotonic()
        over = [node for node, (_, until) in self._replies.items() if now >= until]
        return [(node, self._replies.pop(node)[0]) for node in over]
