"""Codebooks ↔ packets: what the server sends in the place of a bank in a private run."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import ARRAYS, Codebook
from fedpatchcore.wire.packet import Packet, names_told

__all__ = ["pack_codebooks", "unpack_codebooks"]

APART = ("cells", "centre")  # that a section may have of its own
SHARED = len(ARRAYS) - 1  # all arrays but the cells


def pack_codebooks(codebooks: Mapping[str, Codebook]) -> Packet:
    """Codebooks by section as a packet; they share everything but cells and, some, centres."""
    first = next(iter(codebooks.values()))
    arrays = {name: one for name, one in first.arrays().items() if name != "cells"}
    for section, book in sorted(codebooks.items()):
        arrays[f"cells/{section}"] = book.cells
        if not np.array_equal(book.centre, first.centre):
            arrays[f"centre/{section}"] = book.centre
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
        told_apart = tuple(f"{one}/" for one in APART)
        shared = {n: one for n, one in packet.arrays.items() if not n.startswith(told_apart)}
        own = {f"{one}/{section}" for one in APART for section in sections}
        cells = sum(name.startswith("cells/") for name in packet.arrays)
        strange = set(packet.arrays) - set(shared) - own
        if strange or len(shared) != SHARED or cells != len(set(sections)):
            raise ValueError("its arrays are not those of its sections, each once")
        return {
            section: Codebook.of(
                {
                    **shared,
                    "cells": packet.arrays[f"cells/{section}"],
                    "centre": packet.arrays.get(f"centre/{section}", shared["centre"]),
                },
                float(told["radius"]),
                "the federation",
            )
            for section in dict.fromkeys(sections)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise PrivacyError(f"codebooks that cannot be read ({error!r})") from None
