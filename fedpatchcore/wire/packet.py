"""Messages ↔ flat tables of arrays, numbers and strings, the only things that travel.

Two tables of plain lists and one of arrays: exactly what Flower's ConfigRecord,
MetricRecord and ArrayRecord hold, and nothing of Flower. What arrives is checked here, since it
came from another machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import CoresetError, FedPatchCoreError, NeedsFullBank
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.privacy.releases import LedgerNote, Release
from fedpatchcore.wire.encoding import Encoded, decode, encode, read_told
from fedpatchcore.wire.messages import (
    MOST,
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
    Travelled,
    columns,
    from_columns,
)

__all__ = [
    "Packet",
    "SiteFailure",
    "needs_full_bank",
    "pack",
    "pack_failure",
    "unpack_bank",
    "unpack_evaluate",
    "unpack_facts",
    "unpack_train",
]

FULL_BANK = "full bank"


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


def pack(message: object, *, wire: str = "float32", seed: int = 0) -> Packet:
    """Any message, bank or error as a packet.

    Args:
        wire: how the rows of a train reply travel (`fedpatchcore.wire.encoding`); a private reply
            travels as it is.
    """
    if isinstance(message, TrainReply):
        return _pack_train(message, wire, seed)
    return _PACKERS[type(message)](message)


def pack_failure(site: str, error: BaseException) -> Packet:
    """A site's "I could not", with the reason in one line."""
    reason = str(error)
    if not isinstance(error, FedPatchCoreError):
        reason = f"{type(error).__name__}: {reason}"
    texts = {"site": site, "failure": " ".join(reason.split()) or repr(error)}
    if isinstance(error, NeedsFullBank):
        texts["needs"] = FULL_BANK
    return Packet(texts=texts)


def _pack_bank(bank: MemoryBank) -> Packet:
    return Packet(bank.arrays(), texts={"bank": json.dumps(bank.header(), sort_keys=True)})


def unpack_bank(packet: Packet) -> MemoryBank | None:
    """The bank, or None if the packet carries none (round 1). Raises BankError."""
    text = packet.texts.get("bank")
    if not text:
        return None
    return MemoryBank.from_header(str(text), packet.arrays, where="the bank received")


def _pack_train(reply: TrainReply, wire: str, seed: int) -> Packet:
    arrays, prints, told = {}, "", {}
    if reply.contribution:
        prints = reply.contribution.fingerprint.to_json()
        arrays = {name: part.features for name, part in sorted(reply.contribution.parts.items())}
        for name, rows in arrays.items():
            if reply.privacy is None and (encoded := encode(rows, wire, seed=seed)):
                arrays[name], told[name] = encoded.payload, encoded.told()
    numbers = columns(reply.stats, SectionStats)
    sections = numbers.pop("section")
    numbers["seconds"] = [reply.extract_seconds, reply.select_seconds]
    numbers["memory"] = list(reply.memory)
    texts = {"site": reply.site, "kind": reply.kind, "fingerprint": prints, "sections": sections}
    if told:
        texts["wire"] = json.dumps(told, sort_keys=True)
    if reply.releases is not None:
        arrays = {name: release.values for name, release in sorted(reply.releases.items())}
        sums = {n: {"sigma": r.sigma, "codebook": r.codebook} for n, r in reply.releases.items()}
        texts["sums"] = json.dumps(sums, sort_keys=True)
    if reply.privacy is not None:
        texts["privacy"] = reply.privacy.model_dump_json()
    return Packet(arrays, numbers, texts)


def unpack_train(packet: Packet) -> TrainReply:
    """Inverse of `pack`. Raises SiteFailure, CoresetError or FingerprintError."""
    _raise_failure(packet)
    try:
        site, kind = str(packet.texts["site"]), packet.texts["kind"]
        sections = _names(packet.texts["sections"])
        stats = from_columns({**packet.numbers, "section": sections}, SectionStats, len(sections))
        extract, select = _seconds(packet, 2)
        memory = _memory(packet, 4)
        if kind not in ("full", "delta", "none", "sums"):
            raise ValueError(f"unknown kind '{kind}'")
        told = json.loads(str(packet.texts.get("sums", "{}")))
        note = packet.texts.get("privacy")
        privacy = LedgerNote.model_validate_json(str(note)) if note else None
        ways = json.loads(str(packet.texts.get("wire", "{}")))
        if not isinstance(ways, dict) or not set(ways) <= set(packet.arrays):
            raise ValueError("encodings of arrays that did not come")
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise CoresetError(f"a train reply that cannot be read ({error!r})") from None
    by_name = {s.section: s for s in stats}
    if unknown := set(packet.arrays) - set(by_name):
        raise CoresetError(f"site '{site}' sent arrays {sorted(unknown)} without their figures")
    given = releases = travelled = None
    if kind == "sums":
        releases = _sums(packet, told, site)
    elif packet.arrays:
        fingerprint = Fingerprint.from_json(str(packet.texts["fingerprint"]))
        rows, errors = _decoded(packet, ways, fingerprint, site)
        parts = {
            name: Part(
                rows[name], s.images, s.patches, s.radius + errors[name] if ways else s.radius
            )
            for name, s in by_name.items()
            if name in rows
        }
        given = Contribution(site, fingerprint, parts)
        travelled = Travelled(packet.nbytes, {n: ways[n]["kind"] for n in ways}, errors)
    return TrainReply(
        site,
        kind,
        given,
        tuple(stats),
        float(extract),
        float(select),
        releases,
        privacy,
        memory,
        travelled,
    )


def _decoded(
    packet: Packet, ways: Mapping[str, Any], fingerprint: Fingerprint, site: str
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Rows by section as they can be used, and the largest error that the site states of each."""
    rows, errors = dict(packet.arrays), dict.fromkeys(packet.arrays, 0.0)
    encoded: dict[str, Encoded] = {}
    claimed: list[Encoded] = []
    for name, told in ways.items():
        try:
            encoded[name] = read_told(told, packet.arrays[name], claimed)
        except ValueError as error:
            raise CoresetError(f"section '{name}' of site '{site}': {error}") from None
    for name, one in encoded.items():
        try:
            rows[name], errors[name] = decode(one, columns=fingerprint.dimension), one.error
        except ValueError as error:
            raise CoresetError(f"section '{name}' of site '{site}': {error}") from None
    return rows, errors


def _sums(packet: Packet, told: Any, site: str) -> dict[str, Release]:
    try:
        return {
            name: Release(values, float(told[name]["sigma"]), str(told[name]["codebook"]))
            for name, values in packet.arrays.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CoresetError(f"site '{site}' sent sums that cannot be read ({error!r})") from None


def _pack_evaluate(reply: EvaluateReply) -> Packet:
    numbers = columns(reply.results, ProductResult)
    products = numbers.pop("product")
    numbers["seconds"] = [reply.seconds]
    numbers["memory"] = list(reply.memory)
    texts = {"site": reply.site, "products": products, "notes": list(reply.notes)}
    return Packet(numbers=numbers, texts=texts)


def unpack_evaluate(packet: Packet) -> EvaluateReply:
    """Inverse of `pack`. Raises SiteFailure or CoresetError."""
    _raise_failure(packet)
    try:
        products = _names(packet.texts["products"])
        rows = from_columns({**packet.numbers, "product": products}, ProductResult, len(products))
        for row in rows:
            row.check()
        (seconds,) = _seconds(packet, 1)
        notes = tuple(_names(packet.texts.get("notes", ())))
        site, memory = str(packet.texts["site"]), _memory(packet, 2)
        return EvaluateReply(site, tuple(rows), float(seconds), notes, memory)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise CoresetError(f"an evaluate reply that cannot be read ({error!r})") from None


def _memory(packet: Packet, count: int) -> tuple[int, ...]:
    found = tuple(int(n) for n in packet.numbers["memory"])
    if len(found) != count or min(found) < 0 or max(found) > MOST:
        raise ValueError(f"'memory' is {found}")
    return found


def _seconds(packet: Packet, count: int) -> list[float]:
    found = [float(n) for n in packet.numbers["seconds"]]
    if len(found) != count or not all(math.isfinite(n) and n >= 0 for n in found):
        raise ValueError(f"'seconds' is {found}")
    return found


def _names(given: object) -> list[str]:
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"names that are no texts: {given!r}")
    return list(given)


def _pack_facts(facts: SiteFacts) -> Packet:
    return Packet(
        numbers={
            "train_images": list(facts.train_images),
            "test_images": list(facts.test_images),
            "simulated": [int(facts.simulated)],
        },
        texts={
            "site": facts.site,
            "products": list(facts.products),
            "device": facts.device,
            "fingerprint": facts.fingerprint,
            "version": facts.version,
        },
    )


def unpack_facts(packet: Packet) -> SiteFacts:
    """Inverse of `pack`. Raises SiteFailure or CoresetError."""
    _raise_failure(packet)
    try:
        return SiteFacts(
            str(packet.texts["site"]),
            tuple(_names(packet.texts["products"])),
            tuple(packet.numbers["train_images"]),
            tuple(packet.numbers["test_images"]),
            str(packet.texts["device"]),
            str(packet.texts["fingerprint"]),
            str(packet.texts["version"]),
            bool(packet.numbers["simulated"][0]),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CoresetError(f"a query reply that cannot be read ({error!r})") from None


def needs_full_bank(packet: Packet) -> bool:
    """Whether a site answered that it lacks the bank which a message builds on."""
    return packet.texts.get("needs") == FULL_BANK


def _raise_failure(packet: Packet) -> None:
    if reason := packet.texts.get("failure"):
        raise SiteFailure(str(reason))


_PACKERS: Mapping[type, Any] = {
    MemoryBank: _pack_bank,
    EvaluateReply: _pack_evaluate,
    SiteFacts: _pack_facts,
}
