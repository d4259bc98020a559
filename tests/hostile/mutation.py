"""Bytes, JSON and packets changed at random, from one seed."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

from fedpatchcore.wire.packet import Packet

__all__ = ["ODD", "mutated", "mutated_json", "mutated_packet"]

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 10**30, 1.5, -0.0, 5e-324, 1e308),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        "0",
        "nan",
        "\0",
        "\x1b[31m",
        "a\nb",
        "é" * 300,
    ),
    *("../../etc/passwd", "[bold]x[/]", [], {}, [[]], [None], {"a": []}, [1] * 999, "x" * 70_000),
)
NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"18446744073709551616", b"null", b"[]", b'""', b"5e-324")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A file or message with one to four changes."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        way, at = chance.randrange(8), chance.randrange(len(found) + 1)
        if way == 0 and found:
            found[at % len(found)] ^= 1 << chance.randrange(8)
        elif way == 1:
            del found[at:]
        elif way == 2:
            del found[at : at + chance.randint(1, 64)]
        elif way == 3:
            found[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 16)))
        elif way == 4:
            found[at:at] = found[at : at + chance.randint(1, 256)]
        elif way == 5:
            digits = [i for i, c in enumerate(found) if 48 <= c <= 57]
            if digits:
                place = chance.choice(digits)
                found[place : place + 1] = chance.choice(NUMBERS)
        elif way == 6:
            found[at : at + 8] = chance.choice((0, 1, 2**31, 2**63, 2**64 - 1)).to_bytes(
                8, "little"
            )
        else:
            found[at:at] = b"\0" * chance.randint(1, 300)
    return bytes(found)


def mutated_json(value: Any, chance: random.Random, *, depth: int = 0) -> Any:
    """Plain values of which one or a few are others, are gone, or are there twice."""
    if depth > 6 or chance.random() < 0.15:
        return chance.choice(ODD)
    if isinstance(value, dict) and value:
        found = dict(value)
        key = chance.choice(list(found))
        way = chance.randrange(5)
        if way == 0:
            del found[key]
        elif way == 1:
            found[chance.choice(("x", "", "\0", key + "s", "a" * 5000))] = found[key]
        else:
            found[key] = mutated_json(found[key], chance, depth=depth + 1)
        return found
    if isinstance(value, list) and value:
        found = list(value)
        at, way = chance.randrange(len(found)), chance.randrange(5)
        if way == 0:
            del found[at]
        elif way == 1:
            found += found * chance.randint(1, 50)
        else:
            found[at] = mutated_json(found[at], chance, depth=depth + 1)
        return found
    return chance.choice(ODD)


def _array(one: np.ndarray, chance: random.Random) -> np.ndarray:
    way = chance.randrange(7)
    if way == 0:
        return one[: chance.randint(0, len(one))] if one.ndim else one
    if way == 1:
        kinds = (np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, bool)
        with np.errstate(all="ignore"):
            return one.astype(chance.choice(kinds))
    if way == 2:
        return one.reshape(-1)
    if way == 3:
        return np.concatenate([one] * chance.randint(2, 5)) if one.ndim else one
    if way == 4:
        return np.zeros((chance.randint(0, 3),) * chance.randint(0, 3), one.dtype)
    found = one.copy()
    if found.size:
        odd = (np.nan, np.inf, -np.inf, 1e38, -1.0, 5e-324, 0.0, 2**31 - 1)
        with np.errstate(all="ignore"):
            places = [chance.randrange(found.size) for _ in range(chance.randint(1, 4))]
            found.reshape(-1)[places] = np.array(chance.choice(odd)).astype(found.dtype)
    return found


def mutated_packet(packet: Packet, chance: random.Random) -> Packet:
    """A packet with one to three changes; texts that are JSON are changed inside."""
    arrays, numbers, texts = dict(packet.arrays), dict(packet.numbers), dict(packet.texts)
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice([k for k, t in enumerate((arrays, numbers, texts)) if t] or [2])
        if kind == 0:
            key = chance.choice(list(arrays))
            if chance.random() < 0.2:
                arrays[chance.choice(("x", "0.picks", "", "a" * 300))] = arrays.pop(key)
            else:
                arrays[key] = _array(arrays[key], chance)
        elif kind == 1:
            key = chance.choice(list(numbers))
            changed = mutated_json(list(numbers[key]), chance)
            plain = isinstance(changed, list) and all(type(n) in (int, float) for n in changed)
            numbers[key] = changed if plain else [chance.choice((-1, 0, 2**62, 1e308, 5e-324))]
        elif texts:
            key = chance.choice(list(texts))
            try:
                inner = json.loads(texts[key])
                texts[key] = json.dumps(mutated_json(inner, chance))
            except (TypeError, ValueError):
                changed = chance.choice(ODD)
                texts[key] = changed if isinstance(changed, str | bool | int | float) else ["x"]
            if chance.random() < 0.1:
                del texts[key]
    return Packet(arrays, numbers, texts)
