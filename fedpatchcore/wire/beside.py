"""What a method sends beside rows and bank: named arrays, up and down.

Up, in a train reply, each belongs to a section: array ``beside.N`` and, in the text ``beside``, a
JSON list whose N-th entry is ``[section, name]``. Down, beside the bank, each has a name of its
own: array ``beside.N`` and a JSON list of names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.errors import BankError
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.wire.bounds import BESIDE, BESIDE_NAME
from fedpatchcore.wire.packet import Packet

__all__ = ["BesideRows", "beside_of", "pack_beside", "with_beside", "without_beside"]

KEY = "beside"


@dataclass(frozen=True)
class BesideRows:
    """Arrays of a reply, told apart.

    Attributes:
        rows: those that are rows of sections.
        beside: by section and name.
    """

    rows: dict[str, np.ndarray]
    beside: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def nbytes(self) -> int:
        """Bytes of what is beside the rows."""
        return sum(one.nbytes for named in self.beside.values() for one in named.values())


def pack_beside(given: Contribution) -> tuple[dict[str, np.ndarray], str] | None:
    """The arrays beside a contribution's rows and their names; None if there are none."""
    named = [
        (section, name, one)
        for section, part in sorted(given.parts.items())
        for name, one in sorted(part.read_beside().items())
    ]
    if not named:
        return None
    told = json.dumps([[section, name] for section, name, _ in named])
    return {f"{KEY}.{at}": one for at, (_, _, one) in enumerate(named)}, told


def beside_of(packet: Packet, sections: set[str]) -> BesideRows:
    """Inverse of `pack_beside`. Raises ValueError."""
    rows, beside = dict(packet.arrays), {}
    for at, entry in enumerate(_list(packet)):
        if not (isinstance(entry, list) and len(entry) == 2 and _names(entry)):
            raise ValueError("arrays beside rows are named by section and name")
        section, name = entry
        if section not in sections or name in beside.setdefault(section, {}):
            raise ValueError(f"an array beside rows that are not there: '{one_line(section, 40)}'")
        if f"{KEY}.{at}" not in rows:
            raise ValueError(f"array '{KEY}.{at}' did not come")
        beside[section][name] = rows.pop(f"{KEY}.{at}")
    return BesideRows(rows, beside)


def with_beside(packet: Packet, more: Mapping[str, np.ndarray]) -> Packet:
    """A bank's packet with these arrays beside the bank."""
    if not more:
        return packet
    names = sorted(more)
    arrays = {f"{KEY}.{at}": more[name] for at, name in enumerate(names)}
    return replace(
        packet, arrays=packet.arrays | arrays, texts=packet.texts | {KEY: json.dumps(names)}
    )


def without_beside(packet: Packet) -> tuple[Packet, dict[str, np.ndarray]]:
    """Inverse of `with_beside`. Raises BankError."""
    arrays, more = dict(packet.arrays), {}
    try:
        for at, name in enumerate(_list(packet)):
            if not _names([name]) or name in more:
                raise ValueError("a name that is none")
            one = arrays.pop(f"{KEY}.{at}")
            if one.dtype != np.float32 or not np.isfinite(one).all():
                raise ValueError(f"'{one_line(name, 40)}' is no array of finite float32")
            more[name] = one
    except (ValueError, KeyError) as error:
        told = one_line(error, 200)
        raise BankError(f"what came beside the bank cannot be read ({told})") from None
    texts = {key: told for key, told in packet.texts.items() if key != KEY}
    return replace(packet, arrays=arrays, texts=texts), more


def _list(packet: Packet) -> list[Any]:
    try:
        told = json.loads(str(packet.texts.get(KEY, "[]")))
    except RecursionError:
        raise ValueError(f"'{KEY}' nested without end") from None
    if not isinstance(told, list) or len(told) > BESIDE:
        raise ValueError(f"'{KEY}' is no list of at most {BESIDE:,}")
    return told


def _names(entry: list[Any]) -> bool:
    return all(is_name(name, BESIDE_NAME) for name in entry)
