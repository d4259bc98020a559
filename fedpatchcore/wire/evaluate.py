"""The evaluate reply ↔ a packet: thresholds, counts and figures of one site's images."""

from __future__ import annotations

from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.messages import EvaluateReply, ProductResult, columns, from_columns
from fedpatchcore.wire.packet import Packet, memory_told, names_told, raise_failure, seconds_told

__all__ = ["pack_evaluate", "unpack_evaluate"]


def pack_evaluate(reply: EvaluateReply) -> Packet:
    """A site's figures as a packet."""
    numbers = columns(reply.results, ProductResult)
    products = numbers.pop("product")
    numbers["seconds"] = [reply.seconds]
    numbers["memory"] = list(reply.memory)
    texts = {"site": reply.site, "products": products, "notes": list(reply.notes)}
    return Packet(numbers=numbers, texts=texts)


def unpack_evaluate(packet: Packet) -> EvaluateReply:
    """Inverse of `pack_evaluate`. Raises SiteFailure or CoresetError."""
    raise_failure(packet)
    try:
        products = names_told(packet.texts["products"])
        rows = from_columns({**packet.numbers, "product": products}, ProductResult, len(products))
        for row in rows:
            row.check()
        (seconds,) = seconds_told(packet, 1)
        notes = tuple(names_told(packet.texts.get("notes", ())))
        site, memory = str(packet.texts["site"]), memory_told(packet, 2)
        return EvaluateReply(site, tuple(rows), float(seconds), notes, memory)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise CoresetError(f"an evaluate reply that cannot be read ({error!r})") from None
