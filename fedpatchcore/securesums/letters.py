"""What the two sides of a secure sum tell each other: names and arrays, checked as they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.errors import SecureSumError
from fedpatchcore.texts import is_name, one_line

__all__ = ["EXCHANGES", "Letter", "framed", "packed_rows"]

# In this order, each a question of the server to every site that is left, and its answers.
EXCHANGES = ("keys", "shares", "masked", "agree", "open")


def framed(*parts: bytes | str | int) -> bytes:
    """The parts as one byte string that no other parts give: each after its length."""
    plain = [p if isinstance(p, bytes) else str(p).encode("utf-8", "surrogatepass") for p in parts]
    return b"".join(len(p).to_bytes(8, "big") + p for p in plain)


def packed_rows(rows: Sequence[bytes], width: int) -> np.ndarray:
    """Byte strings of ``width`` bytes each as uint8 ``[n, width]``."""
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)


@dataclass(frozen=True)
class Letter:
    """One question or answer of an exchange.

    Attributes:
        exchange: one of `EXCHANGES`.
        sites: names that rows of the arrays belong to, in ascending order.
        arrays: by name; keys, signatures, sealed shares and the like are uint8 ``[n, width]``.
    """

    exchange: str
    sites: tuple[str, ...] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of names and arrays."""
        return sum(len(framed(s)) for s in self.sites) + sum(
            one.nbytes for one in self.arrays.values()
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that it says."""
        parts: list[bytes | str | int] = [self.exchange, len(self.sites), *self.sites]
        for name, array in sorted(self.arrays.items()):
            whole = np.ascontiguousarray(array)
            parts += [name, whole.dtype.str, repr(whole.shape), whole.tobytes()]
        return hashlib.sha256(framed(*parts)).digest()

    def told(self) -> dict[str, Any]:
        """As plain values."""
        arrays = {
            key: [one.dtype.str, list(one.shape), np.ascontiguousarray(one).tobytes().hex()]
            for key, one in self.arrays.items()
        }
        return {"exchange": self.exchange, "sites": list(self.sites), "arrays": arrays}

    @classmethod
    def from_told(cls, told: Mapping[str, Any]) -> Letter:
        """Inverse of `told`. Raises KeyError, TypeError, ValueError."""
        arrays = {
            key: np.frombuffer(bytes.fromhex(data), np.dtype(kind)).reshape(shape)
            for key, (kind, shape, data) in told["arrays"].items()
        }
        return cls(str(told["exchange"]), tuple(told["sites"]), arrays)

    def expect(self, exchange: str, *, by: str) -> None:
        """Raise SecureSumError unless this belongs to ``exchange``."""
        if self.exchange == exchange:
            return
        told = one_line(repr(self.exchange), 40)
        when = "late: it belongs to" if self.exchange in EXCHANGES else "no answer of"
        now = f"this is '{exchange}'" if exchange else "the sum is over"
        raise SecureSumError(f"{by} is {when} exchange {told}, {now}")

    def names(self, *, by: str) -> tuple[str, ...]:
        """The sites named: each once, in ascending order. Raises SecureSumError."""
        names = tuple(self.sites)
        if not names or not all(map(is_name, names)):
            raise SecureSumError(f"{by} names no sites, or some that are no names")
        if list(names) != sorted(set(names)):
            raise SecureSumError(f"{by} names sites twice or out of order")
        return names

    def rows(self, key: str, count: int, width: int, *, by: str) -> list[bytes]:
        """Byte strings of an array uint8 ``[count, width]``. Raises SecureSumError."""
        array = self.arrays.get(key)
        if not isinstance(array, np.ndarray):
            raise SecureSumError(f"{by} brings no '{key}'")
        if array.dtype != np.uint8 or array.shape != (count, width):
            raise SecureSumError(
                f"{by} brings '{key}' as {array.dtype} {array.shape}, "
                f"expected uint8 ({count}, {width})"
            )
        return [row.tobytes() for row in array]
