"""Doors on Flower's side: a reply as the parts that a site uploads, an app as it was submitted."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Message
from flwr.cli.build import build_fab_from_disk

from client_app.bundle import difference
from client_app.records import to_records
from fedpatchcore.runs.programs import app_folder
from fedpatchcore.wire.packet import Packet
from server_app.grid import StreamingGrid
from server_app.replies import packet_of
from tests.hostile.doors import Door
from tests.hostile.mutation import mutated
from tests.support.superlink import FakeSuperLink
from tests.support.uploads import parts_of, remade

__all__ = ["FLOWER_DOORS"]


def parts_door() -> Door:
    """What is put together, or an error of Flower's in its place; one reply, and none waits."""
    asked = Message(content=to_records(Packet()), dst_node_id=7, message_type="train")
    asked.metadata.__dict__["_message_id"] = asked.object_id
    packet = Packet({"plate": np.ones((3, 4), np.float32)}, {"rows": [3]}, {"site": "a"})
    whole = parts_of(Message(content=to_records(packet), reply_to=asked))

    def change(parts: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
        kind = chance.choice([one.split(b" ", 1)[0].decode() for one in parts.values()])
        damage = lambda content: mutated(content, chance) or b"x"  # noqa: E731  b"" is yet to come
        try:
            return remade(parts, kind, damage)
        except ValueError:  # a head without its three words: it is uploaded under its old name
            return {n: damage(c) if chance.random() < 0.3 else c for n, c in parts.items()}

    def take(parts: dict[str, bytes]) -> None:
        link = FakeSuperLink([7])
        grid = StreamingGrid(link.grid(), poll=0.001)
        stream = grid.send_and_receive([asked], timeout=5.0)
        name = link.answers(asked, parts)
        (reply,) = stream
        assert grid.node_of(reply) == 7 and not grid.unanswered
        assert link.forgotten == [name]
        packet_of(reply)

    return Door([whole], change, take)


def app_door() -> Door:
    """The same to the byte in all of its code, or told in one line; never loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's own libraries
        bundle = build_fab_from_disk(app_folder())

    def take(data: bytes) -> None:
        told = difference(data)
        assert told.isprintable() and len(told) < 1500

    return Door([bundle], mutated, take, total=True)


FLOWER_DOORS: dict[str, Callable[[Path], Door]] = {
    "a reply's parts": lambda tmp: parts_door(),
    "a run's app": lambda tmp: app_door(),
}
