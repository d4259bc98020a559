"""A reply as Flower hands it over: a packet, or an error in words a person understands."""

from __future__ import annotations

from flwr.app import Message

from client_app.records import from_records
from fedpatchcore.errors import QuorumError
from fedpatchcore.wire.packet import Packet, needs_full_bank

__all__ = ["UNREADABLE", "is_gone", "lacks_bank", "packet_of"]

UNREADABLE = 1000  # ours, beside Flower's codes: what came could not be put together

# What Flower's error codes mean to a person.
CODES = {
    2: "its ClientApp raised an error",
    3: "no reply within round-timeout",
    5: "its SuperNode is offline",
    8: "its ClientApp process died (killed, or out of memory)",
    UNREADABLE: "its reply is refused",
}
RAISED, EXPIRED = 2, 3
OUT_OF_MEMORY = "ray.exceptions.OutOfMemoryError"


def packet_of(reply: Message) -> Packet:
    """What the site sent; its arrays are views of the reply. Raises QuorumError.

    QuorumError is for an error of Flower's in the reply's place.
    """
    if reply.has_error():
        code, reason = reply.error.code, " ".join(str(reply.error.reason).split())
        if OUT_OF_MEMORY in reason:  # of a simulation, in half a page of figures
            raise QuorumError(
                "its process was killed because this machine ran low on memory: simulate fewer "
                "sites at a time, or set memory-budget"
            )
        told = CODES.get(code, f"Flower error {code}")
        raise QuorumError(f"{told}: {reason}" if reason and code != EXPIRED else told)
    return from_records(reply.content, copy=False)


def is_gone(reply: Message) -> bool:
    """Whether the site went away, rather than answered something that cannot be used."""
    return reply.has_error() and reply.error.code not in (RAISED, UNREADABLE)


def lacks_bank(reply: Message) -> bool:
    """Whether the site answered that it needs the full bank to go on."""
    if reply.has_error():
        return False
    return needs_full_bank(Packet(texts=dict(reply.content.get("texts") or {})))
