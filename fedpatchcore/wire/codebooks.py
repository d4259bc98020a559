"""Codebooks ↔ packets: what the server sends in the place of a bank in a private run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import ARRAYS, Codebook
from fedpatchcore.wire.packet import Packet, names_told

__all__ = ["pack_codebooks", "unpack_codebooks"]

SHARED = len(ARRAYS) - 1  # all arrays but the cells


def pack_codebooks(codebooks: Mapping[str, Codebook]) -> Packet:
    """Codebooks by section, which share everything but their cells, as a packet."""
    first = next(iter(codebooks.values()))
    arrays = {name: one for name, one in first.arrays().items() if name != "cells"}
    arrays |= {f"cells/{section}": book.cells for section, book in sorted(codebooks.items())}
    told = {"radius": first.radius, "sections": sorted(codebooks)}
    return Packet(arrays, texts={"codebooks": json.dumps(told)})


def unpack_codebooks(packet: Packet) -> dict[str, Codebook]:
    """Inverse of `pack_codebooks`; empty if the packet carries none. Raises PrivacyError."""
    text = packet.texts.get("codebooks")
    if not text:
        return {}
    try:
        told = json.loads(str(text))
        sections = names_told(Packet(texts=told), "sections")
        shared = {n: one for n, one in packet.arrays.items() if not n.startswith("cells/")}
        if len(packet.arrays) != len(shared) + len(set(sections)) or len(shared) != SHARED:
            raise ValueError("its arrays are not those of its sections, each once")
        return {
            section: Codebook.of(
                {**shared, "cells": packet.arrays[f"cells/{section}"]},
                float(told["radius"]),
                "the federation",
            )
            for section in dict.fromkeys(sections)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise PrivacyError(f"codebooks that cannot be read ({error!r})") from None
