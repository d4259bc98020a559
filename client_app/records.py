"""Packets ↔ Flower records. What arrives is checked before memory is spent on it."""

from __future__ import annotations

import io

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.packet import Packet

__all__ = ["from_records", "to_records"]


def to_records(packet: Packet) -> RecordDict:
    """A packet as Flower records: ``arrays``, ``numbers``, ``texts``."""
    return RecordDict(
        {
            "arrays": ArrayRecord({k: Array(v) for k, v in packet.arrays.items()}),
            "numbers": MetricRecord(dict(packet.numbers)),
            "texts": ConfigRecord(dict(packet.texts)),
        }
    )


def from_records(records: RecordDict, *, copy: bool = True) -> Packet:
    """Inverse of `to_records`. Raises CoresetError if a record is missing or an array damaged.

    Without ``copy``, arrays are read-only views of the message's own bytes.
    """
    arrays, numbers, texts = (records.get(k) for k in ("arrays", "numbers", "texts"))
    if not (
        isinstance(arrays, ArrayRecord)
        and isinstance(numbers, MetricRecord)
        and isinstance(texts, ConfigRecord)
    ):
        raise CoresetError("the message does not hold the records arrays, numbers and texts")
    return Packet(
        {key: _array(key, array, copy) for key, array in arrays.items()}, dict(numbers), dict(texts)
    )


def _array(key: str, array: Array, copy: bool) -> np.ndarray:
    """Decode one array, refusing a header that claims more than the bytes that came."""
    raw = io.BytesIO(array.data)
    try:
        version = np.lib.format.read_magic(raw)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = read[version](raw)
        claimed, held = int(np.prod([int(n) for n in shape], dtype=object)), len(array.data)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if claimed * dtype.itemsize != held - raw.tell():
            raise ValueError(f"it claims the shape {shape} but carries {held:,} bytes")
        if copy:
            return array.numpy()
        view = np.frombuffer(array.data, dtype, offset=raw.tell())
        return view.reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # whatever a hostile header makes of NumPy's reader
        raise CoresetError(f"array '{key}' is damaged or cut short: {error}") from None
