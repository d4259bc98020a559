"""One interface for every format: rows in, few bytes out, and the largest error stated.

The encoder decodes what it made and measures: ``error`` is the exact maximum of the L2 distance
between a row and what the receiver will see in its place (to the rounding of float32).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpatchcore.wire.encoding import float16, int8, pq
from fedpatchcore.wire.encoding.frame import EXPANSION, fits, squeeze, unsqueeze

__all__ = ["Encoded", "decode", "encode", "expands", "farthest", "read_told", "take"]

LARGEST = 1e15  # beyond it squares overflow; no feature is near it
MAX_ROWS, MAX_COLUMNS = 10**7, 1 << 16
ROWS_A_BLOCK = 8192

_FORMATS: Mapping[str, ModuleType] = {"float16": float16, "int8": int8, "pq": pq}


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["float16", "int8", "pq"]
    rows: int = Field(ge=1, le=MAX_ROWS)
    columns: int = Field(ge=1, le=MAX_COLUMNS)
    error: float = Field(ge=0, allow_inf_nan=False)


@dataclass(frozen=True)
class Encoded:
    """Rows as they travel.

    Attributes:
        payload: uint8 ``[n]``.
        rows, columns: shape of the rows.
        error: largest L2 distance of a decoded row to the row itself.
        decoded: float32 ``[rows, columns]``, what the receiver sees; None at the receiver.
    """

    kind: str
    rows: int
    columns: int
    error: float
    payload: np.ndarray
    decoded: np.ndarray | None = None

    @property
    def modest(self) -> bool:
        """Whether it stands for no more than any receiver takes, whatever else is in a message."""
        return self.rows * self.columns * 4 <= EXPANSION * len(self.payload)

    def told(self) -> dict[str, Any]:
        """What travels beside the payload, as plain values."""
        return {
            "kind": self.kind,
            "rows": self.rows,
            "columns": self.columns,
            "error": self.error,
        }


def encode(rows: np.ndarray, kind: str, *, seed: int = 0) -> Encoded | None:
    """Float32 rows ``[k, D]`` as ``kind`` ("float16", "int8", "pq").

    Fewer rows than a codebook pays for go as int8 where pq is asked for: finer, and smaller.

    Returns:
        None if the rows are to travel as they are: ``kind="float32"``, or rows that no format
        is made for (not finite, enormous, or so alike that their bytes would look like a bomb).
    """
    if kind == "float32" or rows.ndim != 2 or not rows.size or rows.dtype != np.float32:
        return None
    if not (np.abs(rows).max() < LARGEST):  # NaN too
        return None
    if kind == "pq" and len(rows) < pq.LEAST_ROWS:
        kind = "int8"
    payload = _FORMATS[kind].encode(rows, seed=seed)
    if rows.nbytes > EXPANSION * len(payload):
        return None
    decoded = _FORMATS[kind].decode(payload, *rows.shape)
    return Encoded(kind, *rows.shape, farthest(rows, decoded), payload, decoded)


def farthest(rows: np.ndarray, decoded: np.ndarray) -> float:
    """Largest L2 distance of a row ``[k, D]`` to what is seen in its place, rounded up."""
    largest = 0.0
    for at in range(0, len(rows), ROWS_A_BLOCK):
        block = slice(at, at + ROWS_A_BLOCK)
        off = rows[block].astype(np.float64) - decoded[block]
        largest = max(largest, float(np.sqrt(np.square(off).sum(1).max())))
    return math.nextafter(largest, math.inf) if largest else 0.0


def read_told(told: Any, payload: np.ndarray, others: list[Encoded] | None = None) -> Encoded:
    """What came over the wire, checked as far as that goes without decoding. ValueError.

    Args:
        others: parts of the same message read before; this one is added to them, and refused if
            all together claim far more than came.
    """
    try:
        found = _Told.model_validate_json(json.dumps(told))
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {}
        place = ".".join(str(p) for p in first.get("loc", ()))
        raise ValueError(f"{place}: {first.get('msg', 'no description of its rows')}") from None
    encoded = Encoded(found.kind, found.rows, found.columns, found.error, payload)
    if others is not None:
        others.append(encoded)
        if expands(others):
            raise ValueError("it claims to stand for far more than came")
    return encoded


def decode(encoded: Encoded, *, columns: int) -> np.ndarray:
    """Float32 ``[rows, columns]``.

    Values may still be infinite: `Contribution.check` and `MemoryBank` refuse those.

    Raises:
        ValueError: another number of columns, a payload cut short, damaged, of another size than
            its shape asks for, or that claims to stand for far more than it holds.
    """
    if encoded.columns != columns:
        raise ValueError(f"rows of {encoded.columns} columns, expected {columns}")
    if not fits(encoded.rows * columns * 4, encoded.payload.nbytes):
        raise ValueError(
            f"{encoded.payload.nbytes:,} bytes claim to be {encoded.rows:,} × {columns:,} values"
        )
    return _FORMATS[encoded.kind].decode(encoded.payload, encoded.rows, columns)


def expands(encoded: Sequence[Encoded]) -> bool:
    """Whether parts, each acceptable alone, together claim far more than came."""
    claimed = sum(one.rows * one.columns * 4 for one in encoded)
    return not fits(claimed, sum(one.payload.nbytes for one in encoded))


def take(encoded: Encoded, which: np.ndarray) -> Encoded:
    """Some of the rows, still encoded: they decode to the same values, bit for bit."""
    form = _FORMATS[encoded.kind]
    arrays = unsqueeze(encoded.payload, form.shapes(encoded.rows, encoded.columns))
    shared, own = arrays[: form.SHARED], arrays[form.SHARED :]
    payload = squeeze(*shared, *(one[..., which] for one in own))
    return Encoded(encoded.kind, len(which), encoded.columns, encoded.error, payload)
