"""What travels, whatever it says: flat tables of arrays, numbers and strings.

Two tables of plain lists and one of arrays: exactly what Flower's ConfigRecord,
MetricRecord and ArrayRecord hold, and nothing of Flower. What arrives is checked here and in the
module of each kind of message, since it came from another machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.errors import FedPatchCoreError, NeedsFullBank
from fedpatchcore.wire.messages import MOST

__all__ = [
    "Packet",
    "SiteFailure",
    "claimed_name",
    "memory_told",
    "names_told",
    "needs_full_bank",
    "pack_failure",
    "raise_failure",
    "seconds_told",
]

FULL_BANK = "full bank"
NAME = 80  # characters of a name that is told before its site is known


class SiteFailure(FedPatchCoreError):
    """A site answered that it could not do its part; the text is the site's own."""


@dataclass(frozen=True)
class Packet:
    """What travels: named arrays, named lists of numbers, named strings or lists of strings."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, list] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes on the wire: of all arrays, and of the texts without which they say nothing."""
        told = (str(self.texts.get(key, "")) for key in ("bank", "wire"))
        return sum(one.nbytes for one in self.arrays.values()) + sum(map(len, told))


def pack_failure(site: str, error: BaseException) -> Packet:
    """A site's "I could not", with the reason in one line."""
    reason = str(error)
    if not isinstance(error, FedPatchCoreError):
        reason = f"{type(error).__name__}: {reason}"
    texts = {"site": site, "failure": " ".join(reason.split()) or repr(error)}
    if isinstance(error, NeedsFullBank):
        texts["needs"] = FULL_BANK
    return Packet(texts=texts)


def needs_full_bank(packet: Packet) -> bool:
    """Whether a site answered that it lacks the bank which a message builds on."""
    return packet.texts.get("needs") == FULL_BANK


def claimed_name(packet: Packet) -> str:
    """What a site that could not do its part calls itself; "" if it does not say."""
    told = packet.texts.get("site", "")
    return " ".join(told.split())[:NAME] if isinstance(told, str) else ""


def raise_failure(packet: Packet) -> None:
    """Raise SiteFailure if the packet says that its site could not."""
    if reason := packet.texts.get("failure"):
        raise SiteFailure(str(reason))


def memory_told(packet: Packet, count: int) -> tuple[int, ...]:
    """The packet's ``count`` peaks of memory in bytes. Raises KeyError, ValueError."""
    found = tuple(int(n) for n in packet.numbers["memory"])
    if len(found) != count or min(found) < 0 or max(found) > MOST:
        raise ValueError(f"'memory' is {found}")
    return found


def seconds_told(packet: Packet, count: int) -> list[float]:
    """The packet's ``count`` durations. Raises KeyError, ValueError."""
    found = [float(n) for n in packet.numbers["seconds"]]
    if len(found) != count or not all(math.isfinite(n) and n >= 0 for n in found):
        raise ValueError(f"'seconds' is {found}")
    return found


def names_told(given: object) -> list[str]:
    """A list of texts as it came. Raises ValueError, TypeError if it is another thing."""
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"names that are no texts: {given!r}")
    return list(given)
