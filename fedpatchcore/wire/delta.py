"""The bank on its way to the sites: what each still lacks, in as few bytes as the wire allows.

Rows have numbers for life: a row that the next bank still holds (equal content, by hash) keeps
its number and its encoded bytes, so that a site which already has it gets its position in the
old bank and no features. What is sent is one header and, for each section that changed,

* ``picks``: for each row its place in the site's old section followed by the ``pieces``,
* ``origin``, and ``pieces``: the rows that are new to the site, encoded,
* ``metric`` and ``amplitudes``, exact, if the section has any.

A site without an older bank gets pieces only. With ``wire="float32"`` and no older bank a message
is the bank's own arrays, with nothing added.

The bank that counts is the one sites see: `Broadcast.publish` gives it, its radii grown by the
exact error of the encoding, and the server goes on with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section, measure_alike
from fedpatchcore.wire.encoding import Encoded, encode, farthest, squeeze, take
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack

__all__ = ["REPEATS", "Broadcast", "digest"]

VERSIONS = 3  # older banks that deltas can start from
WORTH = 0.95  # of the whole message: a delta that saves less is not sent
PIECES = 8  # generations of rows in one section, before all is encoded anew
REPEATS = 4  # how often a message may name its rows, on average; beyond it they are sent again


def digest(sections: Mapping[str, Section]) -> str:
    """SHA-256 over names, features and origins of all sections, 64 hexadecimal digits."""
    told = hashlib.sha256()
    for name, part in sorted(sections.items()):
        told.update(f"{name}\n{part.features.shape}\n".encode())
        told.update(np.ascontiguousarray(part.features).data)
        told.update(np.ascontiguousarray(part.origin).data)
        for more in part.lens.values():
            told.update(np.ascontiguousarray(more).data)
    return told.hexdigest()


@dataclass(frozen=True)
class _Piece:
    """Rows numbered from ``start`` on, encoded together; ``encoded`` is None for exact rows."""

    start: int
    encoded: Encoded | None
    exact: np.ndarray | None

    def __len__(self) -> int:
        return self.encoded.rows if self.encoded else len(self.exact)


@dataclass(frozen=True)
class _Version:
    """One bank's rows by number, ``{section: int64 [M]}``, their origins and lenses."""

    numbers: Mapping[str, np.ndarray]
    origin: Mapping[str, np.ndarray]
    lens: Mapping[str, Mapping[str, np.ndarray]]


@dataclass
class _State:
    """A section as it was published last."""

    hashes: dict[bytes, int] = field(default_factory=dict)  # of the row as merged → its number
    numbers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    features: np.ndarray | None = None
    pieces: list[_Piece] = field(default_factory=list)


class Broadcast:
    """What the server sends of its bank.

    Args:
        wire: "float32", "float16", "int8" or "pq".
        deltas: whether a later round may come; without, nothing is kept for one.

    Attributes:
        errors: largest L2 error of a row as sites see it, by section.
    """

    def __init__(self, wire: str, *, seed: int = 0, deltas: bool = True) -> None:
        self.wire = wire
        self.seed = seed
        self.deltas = deltas
        self.errors: dict[str, float] = {}
        self._next = 0
        self._states: dict[str, _State] = {}
        self._versions: dict[str, _Version] = {}
        self._current = ""
        self._packets: dict[str, Packet] = {}
        self._packed: MemoryBank | None = None

    # -- a new bank -----------------------------------------------------------------

    def publish(self, bank: MemoryBank) -> MemoryBank:
        """The bank as sites will see it: decoded rows, radii grown by the error of each section.

        ``wire="float32"`` gives the same bank back.
        """
        self._states = {n: self._publish(n, part) for n, part in sorted(bank.sections.items())}
        if self.wire != "float32":
            seen = {n: self._seen(n, part) for n, part in bank.sections.items()}
            bank = replace(bank, sections=seen)
        self._register(bank)
        return bank

    def adopt(self, bank: MemoryBank) -> None:
        """Go on from a bank whose sites see these very rows (a resumed run)."""
        for name, part in sorted(bank.sections.items()):
            hashes = [_hash(row) for row in part.features] if self.deltas else []
            numbers = self._next + np.arange(len(part))
            pieces = [] if self.wire == "float32" else [_Piece(self._next, None, part.features)]
            known = dict(zip(hashes, numbers.tolist(), strict=False))
            self._states[name] = _State(known, numbers, part.features, pieces)
            self._next += len(part)
        self._register(bank)

    def _publish(self, name: str, part: Section) -> _State:
        old = self._states.get(name, _State())
        rows = part.features
        hashes = [_hash(row) for row in rows] if self.deltas else [b""] * len(rows)
        numbers = np.array([old.hashes.get(h, -1) for h in hashes], dtype=np.int64)
        alive = [p for p in old.pieces if np.isin(np.arange(len(p)) + p.start, numbers).any()]
        if len(alive) >= PIECES:
            numbers[:], alive = -1, []
        if len(numbers) > REPEATS * len(np.unique(numbers[numbers >= 0])) + (numbers < 0).sum():
            numbers[:], alive = -1, []
        new = numbers < 0
        piece = self._piece(rows[new] if not new.all() else rows)
        numbers[new] = piece.start + np.arange(new.sum())
        features = rows
        if self.wire != "float32":
            features = np.empty_like(rows)
            decoded = piece.encoded.decoded if piece.encoded else piece.exact
            features[new] = decoded
            if not new.all():
                features[~new] = old.features[_places(numbers[~new], old.numbers)]
        if piece.encoded:  # let go of what was decoded, and of the rows themselves
            piece = _Piece(piece.start, replace(piece.encoded, decoded=None), None)
        alive += [piece] if new.any() else []
        known = dict(zip(hashes, numbers.tolist(), strict=True)) if self.deltas else {}
        return _State(known, numbers, features, alive if self.wire != "float32" else [])

    def _piece(self, rows: np.ndarray) -> _Piece:
        start = self._next
        self._next += len(rows)
        return _Piece(start, encode(rows, self.wire, seed=self.seed) if len(rows) else None, rows)

    def _seen(self, name: str, part: Section) -> Section:
        features = self._states[name].features
        self.errors[name] = error = farthest(part.features, features)
        return replace(
            part, features=features, radius=part.radius + error, covers=part.covers + error
        )

    def _register(self, bank: MemoryBank) -> None:
        self._packets, self._packed = {}, None
        if not self.deltas and self.wire == "float32":
            return
        self._current = digest(bank.sections)
        self._versions.pop(self._current, None)
        self._versions[self._current] = _Version(
            {name: state.numbers for name, state in self._states.items()},
            {name: part.origin for name, part in bank.sections.items()},
            {name: part.lens for name, part in bank.sections.items()},
        )
        while len(self._versions) > VERSIONS:
            del self._versions[next(iter(self._versions))]

    # -- messages -------------------------------------------------------------------

    def packet(self, bank: MemoryBank, *, holds: str = "") -> Packet:
        """The message for a site that holds the rows with the digest ``holds``, or none.

        ``bank`` is the published one, maybe with thresholds since. Sites with the same rows
        share one packet, which is made once.
        """
        if self._packed is not bank:
            self._packets, self._packed = {}, bank
        base = holds if self.deltas and holds in self._versions else ""
        if base not in self._packets:
            packet = self._make(bank, base)
            if base and base != self._current:
                full = self.packet(bank)
                packet = packet if packet.nbytes < WORTH * full.nbytes else full
            self._packets[base] = packet
        return self._packets[base]

    def _make(self, bank: MemoryBank, base: str) -> Packet:
        if self.wire == "float32" and not base:
            return pack(bank)
        header = json.dumps(bank.header(), sort_keys=True)
        told: dict = {"base": base, "digest": self._current, "sections": []}
        arrays: dict[str, np.ndarray] = {}
        old = self._versions.get(base, _Version({}, {}, {}))
        for at, (name, part) in enumerate(sorted(bank.sections.items())):
            numbers = self._states[name].numbers
            before = old.numbers.get(name, np.empty(0, np.int64))
            if (
                np.array_equal(numbers, before)
                and np.array_equal(part.origin, old.origin[name])
                and measure_alike(part.lens, old.lens[name])
            ):
                told["sections"].append({"name": name, "same": True})
                continue
            picks = _places(numbers, before)
            pieces = self._pieces(name, part, numbers, picks, len(before))
            for number, piece in enumerate(pieces):
                exact = isinstance(piece, np.ndarray)
                arrays[f"{at}.{number}"] = piece if exact else piece.payload
            arrays[f"{at}.picks"] = squeeze(np.diff(picks, prepend=0).astype("<i4"))
            arrays[f"{at}.origin"] = squeeze(part.origin.astype("<i4"))
            arrays |= {f"{at}.{what}": one for what, one in part.lens.items()}
            said = [None if isinstance(p, np.ndarray) else p.told() for p in pieces]
            told["sections"].append({"name": name, "rows": len(part), "pieces": said})
        return Packet(arrays, texts={"bank": header, "wire": json.dumps(told, sort_keys=True)})

    def _pieces(
        self, name: str, part: Section, numbers: np.ndarray, picks: np.ndarray, offset: int
    ) -> list[Encoded | np.ndarray]:
        """Rows that are not in the site's old section; fills in their ``picks``."""
        lacking = np.flatnonzero(picks < 0)
        state, found = self._states[name], []
        if not state.pieces and len(lacking):  # exact rows, straight from the bank
            picks[lacking] = offset + np.arange(len(lacking))
            return [part.features[lacking]]
        for piece in state.pieces:
            inside = numbers[lacking] - piece.start
            mine = lacking[(inside >= 0) & (inside < len(piece))]
            if not len(mine):
                continue
            picks[mine] = offset + np.arange(len(mine))
            offset += len(mine)
            which = numbers[mine] - piece.start
            if piece.encoded is None:
                found.append(piece.exact[which])
            elif len(which) == len(piece) and (np.diff(which) == 1).all():
                found.append(piece.encoded)
            else:
                some = take(piece.encoded, which)
                found.append(some if some.modest else part.features[mine])
        return found


def _hash(row: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest()


def _places(numbers: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Position of each number in ``among``; -1 where it is not."""
    if not len(among):
        return np.full(len(numbers), -1, np.int64)
    order = np.argsort(among)
    at = np.searchsorted(among, numbers, sorter=order).clip(max=len(among) - 1)
    return np.where(among[order[at]] == numbers, order[at], -1)
