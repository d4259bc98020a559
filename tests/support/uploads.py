"""Replies as the parts that a site uploads, and parts that no honest site would make."""

from __future__ import annotations

import json
from collections.abc import Callable

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id

__all__ = [
    "CHUNK",
    "array_body",
    "bomb_of",
    "named",
    "not_protobuf",
    "parts_of",
    "remade",
    "with_array",
    "with_body",
]

CHUNK = 5 * 2**20
Change = Callable[[bytes], bytes]


def parts_of(message: Message) -> dict[str, bytes]:
    """A message as the parts it travels in, by their hashes; its own head is the last."""
    return {name: one.deflate() for name, one in get_all_nested_objects(message).items()}


def named(kind: str, children: list[str], body: bytes) -> tuple[str, bytes]:
    """A part with its hash, as Flower writes it."""
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\0" + body
    return get_object_id(content), content


def with_body(make: Change) -> Change:
    """A change of what follows a part's head."""
    return lambda content: content.split(b"\0", 1)[0] + b"\0" + make(content.split(b"\0", 1)[1])


def remade(parts: dict[str, bytes], kind: str = "", change: Change = bytes) -> dict[str, bytes]:
    """The parts with those of one kind changed, and all that name them named anew."""
    new, told = {}, {}
    for name, content in parts.items():
        for old, fresh in told.items():
            content = content.replace(old.encode(), fresh.encode())
        if kind and content.startswith(kind.encode() + b" "):
            content = change(content)
        head, body = content.split(b"\0", 1)
        what, children, _ = head.decode("utf-8", "replace").split(" ")
        fresh, content = named(what, [c for c in children.split(",") if c], body)
        told[name], new[fresh] = fresh, content
    return new


def with_array(parts: dict[str, bytes], array: dict[str, bytes]) -> dict[str, bytes]:
    """A reply with one array, in whose place the last of other parts stands."""
    (old,) = (name for name, content in parts.items() if content.startswith(b"Array "))
    top = list(array)[-1]
    rest = {n: c for n, c in parts.items() if not c.startswith((b"Array ", b"ArrayChunk "))}
    return array | remade({n: c.replace(old.encode(), top.encode()) for n, c in rest.items()})


def array_body(chunks: list[int]) -> bytes:
    """What an array says of itself: which of its children follow each other."""
    told = {"dtype": "float32", "shape": [1], "stype": "numpy.ndarray", "arraychunk_ids": chunks}
    return json.dumps(told).encode()


def bomb_of(reply: Message) -> dict[str, bytes]:
    """5 MB that say they are 3 GB."""
    chunk, content = named("ArrayChunk", [], bytes(CHUNK))
    array, head = named("Array", [chunk], array_body([0] * 600))
    return with_array(parts_of(reply), {chunk: content, array: head})


def not_protobuf(reply: Message) -> dict[str, bytes]:
    """A reply whose head cannot be read."""
    return remade(parts_of(reply), "Message", with_body(lambda _: b"\xff\xff no protobuf"))
