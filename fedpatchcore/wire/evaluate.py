"""The evaluate reply ↔ a packet: thresholds, counts and figures of one site's images."""

from __future__ import annotations

import json

from fedpatchcore.wire.columns import columns, from_columns
from fedpatchcore.wire.messages import EvaluateReply, ProductResult
from fedpatchcore.wire.packet import (
    Packet,
    check_texts,
    memory_told,
    names_told,
    notes_told,
    raise_failure,
    seconds_told,
    site_told,
    unreadable,
)
from fedpatchcore.wire.results import check_result

__all__ = ["pack_evaluate", "unpack_evaluate"]


def pack_evaluate(reply: EvaluateReply) -> Packet:
    """A site's figures as a packet."""
    numbers = columns(reply.results, ProductResult)
    products, kinds = numbers.pop("product"), numbers.pop("kinds")
    numbers["seconds"] = [reply.seconds]
    numbers["memory"] = list(reply.memory)
    texts = {"site": reply.site, "products": products, "notes": list(reply.notes)}
    texts["kinds"] = [json.dumps(one) for one in kinds]
    return Packet(numbers=numbers, texts=texts)


def unpack_evaluate(packet: Packet) -> EvaluateReply:
    """Inverse of `pack_evaluate`. Raises SiteFailure or CoresetError."""
    raise_failure(packet)
    try:
        check_texts(packet)
        products = names_told(packet, "products")
        kinds = [_kinds(text) for text in packet.texts["kinds"]]
        table = {**packet.numbers, "product": products, "kinds": kinds}
        rows = from_columns(table, ProductResult, len(products))
        for row in rows:
            check_result(row)
        (seconds,) = seconds_told(packet, 1)
        notes, memory = tuple(notes_told(packet, "notes")), memory_told(packet, 2)
        return EvaluateReply(site_told(packet), tuple(rows), seconds, notes, memory)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable("an evaluate reply", error) from None


def _kinds(text: str) -> dict[str, tuple[int, int]]:
    """Raises ValueError or TypeError for what is no table of names and two whole numbers."""
    try:
        told = json.loads(text)
    except RecursionError:
        raise ValueError("kinds of defects nested without end") from None
    if not isinstance(told, dict):
        raise ValueError(f"kinds of defects that are no table: {text[:40]!r}")
    for pair in told.values():
        if not isinstance(pair, list) or [type(count) for count in pair] != [int, int]:
            raise ValueError(f"no counts of a kind of defect: {str(pair)[:40]}")
    return {name: tuple(pair) for name, pair in told.items()}
