"""A memory bank ↔ a packet, whole; `fedpatchcore.wire.delta` sends what changed."""

from __future__ import annotations

import json

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.wire.packet import Packet

__all__ = ["pack_bank", "unpack_bank"]


def pack_bank(bank: MemoryBank) -> Packet:
    """The whole bank as a packet."""
    return Packet(bank.arrays(), texts={"bank": json.dumps(bank.header(), sort_keys=True)})


def unpack_bank(packet: Packet) -> MemoryBank | None:
    """The bank, or None if the packet carries none (round 1). Raises BankError."""
    text = packet.texts.get("bank")
    if not text:
        return None
    return MemoryBank.from_header(str(text), packet.arrays, where="the bank received")
