"""Bodies of requests and answers: plain values and arrays, in the form of a safetensors file.

    8 bytes  length of the head, little-endian
    head     JSON: of each array its kind, shape and place; the plain values as the only metadata
    data     the arrays, one behind the other, without gaps

The file's format is safetensors' own (its page "Format"); its library copies each array when it
writes and when it reads. Here arrays are sent from where they lie, and what was read stays in the
one buffer that it came in. Nothing in a body is code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.errors import WorkerError
from fedpatchcore.texts import one_line

__all__ = ["Buffer", "pack_body", "pieces_of", "unpack_body"]

KEY = "told"
LONGEST_HEAD = 100_000_000  # bytes; safetensors' own bound
ALIGNED = 8  # bytes; the data begins at a multiple of it
KINDS = {
    **{"BOOL": "?", "C64": "<c8", "F64": "<f8", "F32": "<f4", "F16": "<f2"},
    **{f"I{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
}
NAMES = {np.dtype(kind): name for name, kind in KINDS.items()}
Buffer = bytes | bytearray | memoryview


def pieces_of(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Buffer]:
    """Plain values and arrays as the pieces of one body; of an array it is its own memory.

    Raises:
        WorkerError: for what is neither.
    """
    straight = {key: _straight(key, one) for key, one in arrays.items()}
    order = sorted(straight, key=lambda key: (-straight[key].itemsize, key))  # each aligned
    head: dict[str, Any] = {}
    at = 0
    try:
        head["__metadata__"] = {KEY: json.dumps(told, default=_plain)}
        for key in order:
            one = straight[key]
            place = [at, at := at + one.nbytes]
            kind = NAMES[one.dtype]
            head[key] = {"dtype": kind, "shape": list(one.shape), "data_offsets": place}
        text = json.dumps(head).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _cannot(str(error)) from None
    text += b" " * (-len(text) % ALIGNED)
    data = (straight[key].reshape(-1).view(np.uint8).data for key in order)
    return [len(text).to_bytes(8, "little"), text, *data]


def pack_body(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The body as bytes of its own. Raises WorkerError as `pieces_of` does."""
    return b"".join(pieces_of(told, arrays))


def unpack_body(body: Buffer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Inverse of `pack_body`; the arrays are views of ``body``.

    Raises:
        WorkerError: it is damaged or another thing.
    """
    try:
        told, arrays = _read(memoryview(body))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = one_line(error, 200)
        raise WorkerError(f"a message between node and worker is damaged ({reason})") from None
    if not isinstance(told, dict):
        raise WorkerError("a message between node and worker says nothing")
    return told, arrays


def _read(body: memoryview) -> tuple[Any, dict[str, np.ndarray]]:
    """Raises ValueError, KeyError, TypeError of whatever is not as the format says."""
    length = int.from_bytes(body[:8], "little")
    if len(body) < 8 or length > min(LONGEST_HEAD, len(body) - 8):
        raise ValueError("its head is cut short")
    head = json.loads(bytes(body[8 : 8 + length]), object_pairs_hook=_once)
    if not isinstance(head, dict):
        raise ValueError("its head is no table")
    told = json.loads(head.pop("__metadata__")[KEY])
    data, at, found = body[8 + length :], 0, {}
    for key, one in sorted(head.items(), key=lambda pair: pair[1]["data_offsets"]):
        dtype, shape, (begin, end) = (
            np.dtype(KINDS[one["dtype"]]),
            one["shape"],
            one["data_offsets"],
        )
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError("a length is no number")
        if begin != at or end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError("an array is not where its head says")
        array = np.frombuffer(data[begin:end], dtype).reshape(shape)
        found[key], at = array if array.flags.aligned else array.copy(), end
    if at != len(data):
        raise ValueError("bytes are left over")
    return told, dict(sorted(found.items()))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of a head, in which no name stands twice."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _straight(key: str, given: np.ndarray) -> np.ndarray:
    """The array in little-endian order of rows; itself where it is that already."""
    array = np.asarray(given, order="C")
    array = np.asarray(array, array.dtype.newbyteorder("<"))
    if array.dtype not in NAMES or not isinstance(key, str) or key == "__metadata__":
        raise _cannot(f"'{key}' of {array.dtype}")
    return array


def _plain(value: object) -> Any:
    """A number of NumPy's as Python's own of the same value."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no {type(value).__name__} can be told")


def _cannot(reason: str) -> WorkerError:
    return WorkerError(f"an array or a value that cannot travel: {reason}")
