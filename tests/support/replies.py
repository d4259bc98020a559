"""Replies altered on their way to the server."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Message

from client_app.records import from_records, to_records
from fedpatchcore.wire.packet import Packet

__all__ = ["spoiled"]


def spoiled(change: Callable[[Packet], object], *, kind: str = "train", node: int = 12):
    """Alter the packet of one node's reply."""

    def alter(at: int, what: str, reply: Message) -> Message:
        if (at, what) != (node, kind):
            return reply
        packet = from_records(reply.content)
        change(packet)
        reply.content.clear()
        for key, record in to_records(packet).items():
            reply.content[key] = record
        return reply

    return alter
