"""Any message, bank or error as a packet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.wire.banks import pack_bank
from fedpatchcore.wire.evaluate import pack_evaluate
from fedpatchcore.wire.facts import pack_facts
from fedpatchcore.wire.messages import EvaluateReply, SiteFacts, TrainReply
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.sums import SumsReply, pack_sums
from fedpatchcore.wire.train import pack_train
from fedpatchcore.wire.tuning import TuneReply, pack_tune

__all__ = ["pack"]

_PACKERS: Mapping[type, Any] = {
    MemoryBank: pack_bank,
    EvaluateReply: pack_evaluate,
    SiteFacts: pack_facts,
    SumsReply: pack_sums,
    TuneReply: pack_tune,
}


def pack(message: object, *, wire: str = "float32", seed: int = 0) -> Packet:
    """Any message, bank or error as a packet.

    Args:
        wire: how the rows of a train reply travel (`fedpatchcore.wire.encoding`); a private reply
            travels as it is.
    """
    if isinstance(message, TrainReply):
        return pack_train(message, wire, seed)
    return _PACKERS[type(message)](message)
