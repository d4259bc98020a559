"""The train reply ↔ a packet: a site's coreset, or its noisy sums, with their figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import CoresetError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.privacy.releases import LedgerNote, Release
from fedpatchcore.texts import one_line
from fedpatchcore.wire.beside import beside_of, pack_beside
from fedpatchcore.wire.bounds import FINGERPRINT, is_count, is_figure
from fedpatchcore.wire.columns import columns, from_columns
from fedpatchcore.wire.encoding import Encoded, decode, encode, read_told
from fedpatchcore.wire.messages import SectionStats, TrainReply, Travelled
from fedpatchcore.wire.packet import (
    Packet,
    check_texts,
    memory_told,
    names_told,
    raise_failure,
    seconds_told,
    site_told,
    unreadable,
)

__all__ = ["ledger_note", "pack_train", "unpack_train"]


def pack_train(reply: TrainReply, wire: str, seed: int) -> Packet:
    """A site's part of the coming bank as a packet; rows travel as ``wire`` says."""
    arrays, prints, told = {}, "", {}
    if reply.contribution:
        prints = reply.contribution.fingerprint.to_json()
        arrays = {name: part.features for name, part in sorted(reply.contribution.parts.items())}
        for name, rows in arrays.items():
            if reply.privacy is None and len(rows) and (encoded := encode(rows, wire, seed=seed)):
                arrays[name], told[name] = encoded.payload, encoded.told()
    numbers = columns(reply.stats, SectionStats)
    sections = numbers.pop("section")
    numbers["seconds"] = [reply.extract_seconds, reply.select_seconds]
    numbers["memory"] = list(reply.memory)
    texts = {"site": reply.site, "kind": reply.kind, "fingerprint": prints, "sections": sections}
    if reply.contribution and (more := pack_beside(reply.contribution)):
        named, texts["beside"] = more
        arrays |= named
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
    """Inverse of `pack_train`. Raises SiteFailure, CoresetError or FingerprintError."""
    raise_failure(packet)
    try:
        check_texts(packet)
        site, kind = site_told(packet), packet.texts["kind"]
        sections = names_told(packet, "sections")
        stats = from_columns({**packet.numbers, "section": sections}, SectionStats, len(sections))
        extract, select = seconds_told(packet, 2)
        memory = memory_told(packet, 4)
        if kind not in ("full", "delta", "none", "sums"):
            raise ValueError(f"unknown kind '{one_line(kind, 40)}'")
        more = beside_of(packet, set(sections))
        packet = replace(packet, arrays=more.rows)
        told = _table(packet, "sums")
        privacy = ledger_note(packet.texts.get("privacy"))
        ways = _table(packet, "wire")
        if not set(ways) <= set(packet.arrays):
            raise ValueError("encodings of arrays that did not come")
        prints = packet.texts["fingerprint"] if packet.arrays and kind != "sums" else ""
        if not isinstance(prints, str) or len(prints) > FINGERPRINT:
            raise ValueError("a fingerprint that is none")
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable("a train reply", error) from None
    by_name = {s.section: s for s in stats}
    if unknown := set(packet.arrays) - set(by_name):
        told = one_line(repr(sorted(unknown)), 200)
        raise CoresetError(f"site '{site}' sent arrays {told} without their figures")
    given = releases = travelled = None
    if kind == "sums":
        releases = _sums(packet, told, site)
    elif packet.arrays:
        fingerprint = Fingerprint.from_json(prints)
        rows, errors = _decoded(packet, ways, fingerprint, site)
        parts = {
            name: Part(
                rows[name],
                s.images,
                s.patches,
                s.radius + errors.get(name, 0.0),
                more.beside.get(name, {}),
            )
            for name, s in by_name.items()
            if name in rows
        }
        given = Contribution(site, fingerprint, parts)
        travelled = Travelled(
            packet.nbytes + more.nbytes, {n: ways[n]["kind"] for n in ways}, errors
        )
    return TrainReply(
        site,
        kind,
        given,
        tuple(stats),
        extract,
        select,
        releases,
        privacy,
        memory,
        travelled,
    )


def _table(packet: Packet, key: str) -> dict[str, Any]:
    """A text that is a JSON object; empty without one. Raises ValueError."""
    try:
        told = json.loads(str(packet.texts.get(key, "{}")))
    except RecursionError:
        raise ValueError(f"'{key}' nested without end") from None
    if not isinstance(told, dict):
        raise ValueError(f"'{key}' is no table")
    return told


def ledger_note(told: object) -> LedgerNote | None:
    """What a private site's ledger says, its texts as single lines. Raises ValueError."""
    if not told:
        return None
    note = LedgerNote.model_validate_json(str(told))
    figures = (note.spent, note.left, note.budget, note.delta, note.asked, note.alone or 0.0)
    if not all(is_figure(one) or one == math.inf for one in figures):
        raise ValueError("a ledger's figures that are out of range")
    if not (is_count(note.releases) and is_count(note.unprotected)):
        raise ValueError("a ledger's counts that are out of range")
    lines = {name: one_line(getattr(note, name)) for name in ("mechanism", "protected", "begun")}
    return note.model_copy(update=lines)


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
