"""What a site is asked: a verb, the run's settings, and the packet that came with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fedpatchcore.errors import WorkerError
from fedpatchcore.files import checksum
from fedpatchcore.wire.packet import Packet

__all__ = ["VERBS", "Request", "brief", "packet_from"]

VERBS = ("facts", "train", "sums", "evaluate", "tune")
LONGEST_TEXT = 1 << 26  # characters of one text: the header of the largest bank is far below
BRIEF = 80  # characters of a name that is told or logged
DEEPEST = 2  # a list of plain values; nothing that travels is nested deeper


@dataclass(frozen=True)
class Request:
    """One question to a site.

    Attributes:
        verb: ``facts``, ``train``, ``sums`` (one exchange of a secure sum), ``evaluate`` or
            ``tune`` (candidates to be tried).
        settings: the run's, as its app was submitted with them; checked at the site.
        packet: what the server sent.
        run: Flower's number of the run.
        traceparent: the span of the server that this belongs to, or "".
    """

    verb: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    packet: Packet = field(default_factory=Packet)
    run: str = ""
    traceparent: str = ""

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise WorkerError(f"a site is asked {', '.join(VERBS)}, not '{brief(self.verb)}'")

    @property
    def round(self) -> int:
        """Number of the round, 0 where it belongs to none."""
        told = self.packet.texts.get("round", 0)
        return told if isinstance(told, int) else 0

    @property
    def run_folder(self) -> str:
        """The run folder's name as the server tells it, "" if it does not."""
        return str(self.packet.texts.get("run-folder", ""))

    @property
    def run_name(self) -> str:
        """Name under which the ledger keeps this run's releases."""
        return str(self.packet.texts.get("run", ""))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the answer depends on: the same question again has the same."""
        return checksum(json.dumps(self.told(), sort_keys=True), self.packet.arrays)

    def told(self) -> dict[str, Any]:
        """Everything but the arrays and the trace, as plain values."""
        return {
            "verb": self.verb,
            "run": self.run,
            "settings": dict(self.settings),
            "numbers": {key: list(value) for key, value in self.packet.numbers.items()},
            "texts": dict(self.packet.texts),
        }

    @classmethod
    def from_told(cls, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Request:
        """Inverse of `told`. Raises WorkerError if it is no request."""
        return cls(
            str(told.get("verb", "")),
            _table(told, "settings"),
            packet_from(told, arrays),
            brief(told.get("run", "")),
            brief(told.get("traceparent", "")),
        )


def brief(given: object) -> str:
    """What somebody else wrote, fit for a line of a log: short, and printable throughout."""
    return "".join(c if c.isprintable() else "?" for c in str(given)[:BRIEF])


def packet_from(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Packet:
    """A packet from plain values that came over the socket. Raises WorkerError."""
    numbers = _table(told, "numbers")
    for key, value in numbers.items():
        if not isinstance(value, list) or not all(type(n) in (int, float) for n in value):
            raise WorkerError(f"'{brief(key)}' of 'numbers' is no list of numbers")
    return Packet(dict(arrays), numbers, _table(told, "texts"))


def _table(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = told.get(key)
    if not isinstance(table, dict):
        raise WorkerError(f"the message has no table '{key}'")
    for name, value in table.items():
        if not _plain(value, DEEPEST):
            raise WorkerError(f"'{brief(name)}' of '{key}' is neither a text, a number nor a list")
    return table


def _plain(value: object, depth: int) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    if isinstance(value, list):
        return depth > 1 and all(_plain(one, depth - 1) for one in value)
    return isinstance(value, bool | int | float)
