"""What travels, whatever it says: flat tables of arrays, numbers and strings.

Two tables of plain lists and one of arrays: exactly what Flower's ConfigRecord,
MetricRecord and ArrayRecord hold, and nothing of Flower. What arrives is checked here and in the
module of each kind of message, since it came from another machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.errors import CoresetError, FedPatchCoreError, NeedsFullBank, NotNow
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.wire.bounds import NOTES, SECONDS, SECTIONS, TEXTS, is_count, is_figure

__all__ = [
    "Packet",
    "SiteFailure",
    "check_texts",
    "claimed_name",
    "memory_told",
    "names_told",
    "needs_full_bank",
    "notes_told",
    "pack_failure",
    "raise_failure",
    "seconds_told",
    "site_told",
    "unreadable",
]

FULL_BANK, LATER = "full bank", "later"
CLAIMED = 80  # characters of a name that is told before its site is known


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
    texts = {"site": site, "failure": one_line(reason) or repr(error)}
    if isinstance(error, NeedsFullBank):
        texts["needs"] = FULL_BANK
    if isinstance(error, NotNow):
        texts["when"] = LATER
    return Packet(texts=texts)


def needs_full_bank(packet: Packet) -> bool:
    """Whether a site answered that it lacks the bank which a message builds on."""
    return packet.texts.get("needs") == FULL_BANK


def claimed_name(packet: Packet) -> str:
    """What a site that could not do its part calls itself; "" if it does not say."""
    told = packet.texts.get("site", "")
    return one_line(told, CLAIMED) if isinstance(told, str) else ""


def raise_failure(packet: Packet) -> None:
    """Raise SiteFailure if the packet says that its site could not; NotNow if it will later."""
    if reason := packet.texts.get("failure"):
        kind = NotNow if packet.texts.get("when") == LATER else SiteFailure
        raise kind(one_line(reason) or "it gave no reason")


def unreadable(what: str, error: Exception) -> CoresetError:
    """What is raised for a reply that holds other things than its kind asks for."""
    return CoresetError(f"{what} that cannot be read ({one_line(repr(error), 300)})")


def check_texts(packet: Packet) -> None:
    """Raise ValueError for more text, or more named things, than any message needs."""
    listed = (one if isinstance(one, list | tuple) else [one] for one in packet.texts.values())
    if (size := sum(len(one) for some in listed for one in some if isinstance(one, str))) > TEXTS:
        raise ValueError(f"texts of {size:,} characters, at most {TEXTS:,} are taken")
    for kind in (packet.arrays, packet.numbers, packet.texts):
        if len(kind) > SECTIONS:
            raise ValueError(f"{len(kind):,} named things, at most {SECTIONS:,} are taken")


def site_told(packet: Packet) -> str:
    """The site's name. Raises KeyError, ValueError."""
    name = packet.texts["site"]
    if not is_name(name):
        raise ValueError(f"a site called {one_line(repr(name), 60)}")
    return name


def memory_told(packet: Packet, count: int) -> tuple[int, ...]:
    """The packet's ``count`` peaks of memory in bytes. Raises KeyError, ValueError."""
    found = tuple(packet.numbers["memory"])
    if len(found) != count or not all(map(is_count, found)):
        raise ValueError(f"'memory' is {_shown(found)}")
    return found


def seconds_told(packet: Packet, count: int) -> list[float]:
    """The packet's ``count`` durations. Raises KeyError, ValueError."""
    found = packet.numbers["seconds"]
    if len(found) != count or not all(is_figure(n, SECONDS) for n in found):
        raise ValueError(f"'seconds' is {_shown(found)}")
    return [float(n) for n in found]


def names_told(packet: Packet, key: str) -> list[str]:
    """Names of products or sections, each once. Raises KeyError, ValueError, TypeError."""
    names = _listed(packet, key, SECTIONS)
    if bad := next((name for name in names if not is_name(name)), None):
        raise ValueError(f"'{key}' holds the name {one_line(repr(bad), 60)}")
    if "" in names or len(set(names)) != len(names):
        raise ValueError(f"'{key}' holds a name twice, or none")
    return names


def notes_told(packet: Packet, key: str) -> list[str]:
    """Remarks, each as one line; none where it has none. Raises ValueError, TypeError."""
    return [one_line(note) for note in _listed(packet, key, NOTES)] if key in packet.texts else []


def _listed(packet: Packet, key: str, most: int) -> list[str]:
    given = packet.texts[key]
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"'{key}' are no texts: {_shown(given)}")
    if len(given) > most:
        raise ValueError(f"'{key}' are {len(given):,}, at most {most:,} are taken")
    return list(given)


def _shown(given: Iterable[object]) -> str:
    return one_line(repr(given), 60)
