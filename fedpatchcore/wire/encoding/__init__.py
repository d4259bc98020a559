"""Rows of features as few bytes, with the largest error stated beside them."""

from fedpatchcore.wire.encoding.allowance import Allowance
from fedpatchcore.wire.encoding.codec import (
    Encoded,
    decode,
    encode,
    expands,
    farthest,
    read_told,
    take,
)
from fedpatchcore.wire.encoding.frame import squeeze, unsqueeze

__all__ = [
    "Allowance",
    "Encoded",
    "decode",
    "encode",
    "expands",
    "farthest",
    "read_told",
    "squeeze",
    "take",
    "unsqueeze",
]
