"""The bank at a site: taken from a message, kept on its disk for the next one to build on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import LENS
from fedpatchcore.errors import BankError, NeedsFullBank
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.wire.banks import unpack_bank
from fedpatchcore.wire.delta import REPEATS, digest
from fedpatchcore.wire.encoding import Allowance, decode, read_told, unsqueeze
from fedpatchcore.wire.packet import Packet

__all__ = ["HeldBank"]

WHERE = "the bank received"
MAX_ROWS = 10**7
PLACE = 32  # bytes a row while its place and origin are read: four arrays of 4 or 8 bytes


class _SectionTold(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    same: bool = False
    rows: int = Field(0, ge=0, le=MAX_ROWS)
    pieces: list[dict[str, Any] | None] = []


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    base: str
    digest: str
    sections: list[_SectionTold]


class HeldBank:
    """The one bank that a site keeps; another takes its place.

    Args:
        cache: where it is kept; without one the site holds nothing and always gets all of it.
        site: the site's name; virtual sites share one cache.
        keep: whether a later message may build on it.
        shared: keep the rows once for all sites that hold them (virtual sites, whose cache would
            otherwise fill with copies); each still notes for itself which bank it holds.
    """

    def __init__(
        self, cache: SiteCache | None, site: str, *, keep: bool = True, shared: bool = False
    ) -> None:
        self._cache = cache if keep else None
        self._site = site
        self._shared = shared
        self._note = _key("digest of the bank held", site)

    @property
    def digest(self) -> str:
        """Digest of the rows held, "" if there are none; opens a small file."""
        entry = self._cache.get(self._note) if self._cache else None
        return str(entry[0].get("digest", "")) if entry else ""

    def receive(self, packet: Packet) -> MemoryBank | None:
        """The bank that a message brings, or None if it brings none; it is held from now on.

        Raises:
            NeedsFullBank: the message builds on a bank that is not (any longer) here.
            BankError: it cannot be read.
        """
        text = packet.texts.get("wire")
        if not text or not packet.texts.get("bank"):
            bank = unpack_bank(packet)
            found = digest(bank.sections) if bank is not None and self._cache else ""
        else:
            bank, found = self._rebuild(packet, str(text))
        if bank is not None and self._cache and not self._holds(found):
            arrays = {f"features.{n}": s.features for n, s in bank.sections.items()}
            arrays |= {f"origin.{n}": s.origin for n, s in bank.sections.items()}
            arrays |= {
                f"{what}.{n}": one for n, s in bank.sections.items() for what, one in s.lens.items()
            }
            self._cache.put(self._note, {}, {"digest": ""})
            if self._kept(arrays, found):
                self._cache.put(self._note, {}, {"digest": found})
        return bank

    def _holds(self, found: str) -> bool:
        return found == self.digest and self._cache.holds(self._slot(found))

    def _kept(self, arrays: Mapping[str, np.ndarray], found: str) -> bool:
        slot = self._slot(found)
        if self._shared and self._cache.holds(slot):
            return True
        return self._cache.put(slot, arrays, {"digest": found})

    def _slot(self, wanted: str) -> str:
        """Key of the rows: one place a site, or one for all virtual sites that hold these rows."""
        return _key("bank held by many", wanted) if self._shared else _key("bank held", self._site)

    def _rebuild(self, packet: Packet, text: str) -> tuple[MemoryBank, str]:
        try:
            told = _Told.model_validate_json(text)
            header = json.loads(str(packet.texts["bank"]))
            dimension = Fingerprint.model_validate(header["fingerprint"]).dimension
            named = [part["name"] for part in header["sections"]]
            if [part.name for part in told.sections] != named:
                raise ValueError("its sections are not those of its header")
            if len(set(named)) < len(named):
                raise ValueError("it names a section twice")
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise BankError(f"{WHERE} cannot be read ({reason})") from None
        old = self._base(told.base) if told.base else {}
        arrays, used = {}, set()
        came = Allowance(packet.nbytes)
        rebuilt = Allowance(times=REPEATS)
        for at, part in enumerate(told.sections):
            try:
                rows, origin = _section(at, part, packet, old, dimension, used, came, rebuilt)
            except (ValueError, KeyError) as error:
                raise BankError(f"{WHERE}: section '{part.name}': {error}") from None
            arrays[f"{at}.features"], arrays[f"{at}.origin"] = rows, origin
            for what in LENS:
                here = f"{at}.{what}"
                given = old.get(f"{what}.{part.name}") if part.same else packet.arrays.get(here)
                if given is not None:
                    arrays[here] = given
                    used.add(here)
        if unknown := set(packet.arrays) - used:
            raise BankError(f"{WHERE} carries arrays that nothing names: {sorted(unknown)}")
        bank = MemoryBank.from_header(str(packet.texts["bank"]), arrays, where=WHERE)
        if digest(bank.sections) != told.digest:
            text = f"{WHERE} does not have the rows it was made with"
            raise NeedsFullBank(f"{text} (needs full bank)") if told.base else BankError(text)
        return bank, told.digest

    def _base(self, wanted: str) -> Mapping[str, np.ndarray]:
        held = self._cache is not None and self.digest == wanted
        entry = self._cache.get(self._slot(wanted)) if held else None
        if not entry or entry[0].get("digest") != wanted:
            raise NeedsFullBank(
                f"needs full bank: the message builds on bank {wanted[:12]}, this site holds "
                f"{self.digest[:12] or 'none'}"
            )
        return entry[1]


def _section(
    at: int,
    part: _SectionTold,
    packet: Packet,
    old: Mapping[str, np.ndarray],
    dimension: int,
    used: set[str],
    came: Allowance,
    rebuilt: Allowance,
) -> tuple[np.ndarray, np.ndarray]:
    """Features and origin of one section from the old one and the pieces that came.

    Args:
        came: pays for what is decoded; of the whole message.
        rebuilt: pays for the rows that are made of old and decoded ones; of the whole message.
    """
    before = old.get(f"features.{part.name}", np.empty((0, dimension), np.float32))
    if before.ndim != 2 or before.shape[1] != dimension:
        raise ValueError("it builds on rows of another dimension")
    if part.same:
        return before, old[f"origin.{part.name}"]
    stack = [before]
    for number, told in enumerate(part.pieces):
        key = f"{at}.{number}"
        used.add(key)
        rows = packet.arrays[key]
        if told is not None:
            encoded = read_told(told, rows)
            came.spend(encoded.rows * encoded.columns * 4)
            rows = decode(encoded, columns=dimension)
        elif rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != dimension:
            raise ValueError(f"holds {rows.dtype} {rows.shape}, expected float32 [k, {dimension}]")
        stack.append(rows)
    used |= {f"{at}.picks", f"{at}.origin"}
    rebuilt.more(sum(rows.nbytes for rows in stack))
    rebuilt.spend(part.rows * (dimension * 4 + PLACE))
    steps, origin = (
        unsqueeze(packet.arrays[f"{at}.{key}"], [("<i4", (part.rows,))])[0]
        for key in ("picks", "origin")
    )
    picks = np.cumsum(steps, dtype=np.int64)
    total = sum(len(rows) for rows in stack)
    if len(picks) and (picks.min() < 0 or picks.max() >= total):
        raise ValueError(f"names row {int(picks.max()):,} of {total:,}")
    whole = len(stack) == 2 and not len(before) and part.rows == len(stack[1])
    if whole and (np.diff(picks) == 1).all() and picks[0] == 0:
        return stack[1], origin.astype(np.int32)
    found = np.empty((part.rows, dimension), np.float32)
    offset = 0
    for rows in stack:
        here = (picks >= offset) & (picks < offset + len(rows))
        found[here] = rows[picks[here] - offset]
        offset += len(rows)
    return found, origin.astype(np.int32)


def _key(*words: str) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()
