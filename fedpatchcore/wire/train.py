"""The train reply ↔ a packet: a site's coreset, or its noisy sums, with their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import CoresetError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.privacy.releases import LedgerNote, Release
from fedpatchcore.wire.columns import columns, from_columns
from fedpatchcore.wire.encoding import Encoded, decode, encode, read_told
from fedpatchcore.wire.messages import SectionStats, TrainReply, Travelled
from fedpatchcore.wire.packet import Packet, memory_told, names_told, raise_failure, seconds_told

__all__ = ["pack_train", "unpack_train"]


def pack_train(reply: TrainReply, wire: str, seed: int) -> Packet:
    """A site's part of the coming bank as a packet; rows travel as ``wire`` says."""
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
    """Inverse of `pack_train`. Raises SiteFailure, CoresetError or FingerprintError."""
    raise_failure(packet)
    try:
        site, kind = str(packet.texts["site"]), packet.texts["kind"]
        sections = names_told(packet.texts["sections"])
        stats = from_columns({**packet.numbers, "section": sections}, SectionStats, len(sections))
        extract, select = seconds_told(packet, 2)
        memory = memory_told(packet, 4)
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
