"""How an update travels: whole, as float16, as int8, or its largest coordinates alone.

What an encoding leaves out is not lost: the site keeps it (the error memory) and adds it to its
next update, so that the sum of what was sent follows the sum of what was meant (Stich, Cordonnier &
Jaggi, NeurIPS 2018, algorithm 1; Karimireddy et al., ICML 2019). The whole model is one vector, its
parameters in the order of their names.

- float16: to nearest, 2 bytes a number.
- int8: stochastic uniform quantisation as QSGD (Alistarh et al., NeurIPS 2017, section 3): 127
  levels a side, each number rounded up or down by chance so that its expectation is the number;
  each 256 numbers have a scale of their own, the largest of them, rather than one L2 norm for all:
  less noise, and an error that is a fraction of the update, as error memories need.
- topk: the ``share`` of coordinates with the largest magnitudes, as positions and float32 values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.registry import UPDATE_WIRES

__all__ = ["Encoded", "compress", "decode", "encode", "layout_of"]

BUCKET, LEVELS = 256, 127
KINDS = {  # of the arrays of each encoding
    "float32": {"values": np.float32},
    "float16": {"values": np.float16},
    "int8": {"codes": np.int8, "scales": np.float32},
    "topk": {"positions": np.int32, "values": np.float32},
}
assert tuple(KINDS) == UPDATE_WIRES


@dataclass(frozen=True)
class Encoded:
    """An update as it travels.

    Attributes:
        wire: one of `UPDATE_WIRES`.
        layout: of the model (`layout_of`), 16 hexadecimal digits.
        arrays: flat, by name, of the dtypes in ``KINDS``.
    """

    wire: str
    layout: str
    arrays: Arrays = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, which is all that grows with the model."""
        return sum(one.nbytes for one in self.arrays.values())


def layout_of(like: Mapping[str, np.ndarray]) -> str:
    """16 hexadecimal digits that tell models of other parameters or shapes apart."""
    told = "\n".join(f"{name} {list(like[name].shape)}" for name in sorted(like))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def encode(
    change: Mapping[str, np.ndarray], wire: str, *, seed: int, share: float = 1.0
) -> Encoded:
    """An update of float32 arrays by name in the encoding ``wire``.

    Args:
        seed: of int8's roundings; another for each site and round.
        share: of the coordinates that topk sends, at least one.

    Raises:
        TrainingError: a number is not finite, or beyond float16 in that encoding.
    """
    flat = _flat(change)
    if not np.isfinite(flat).all():
        raise TrainingError(
            "an update that is not finite cannot travel: set a smaller learning-rate"
        )
    return Encoded(wire, layout_of(change), _PACK[wire](flat, seed, share))


def decode(sent: Encoded, like: Mapping[str, np.ndarray]) -> Arrays:
    """The update, float32 by name in the shapes of ``like``.

    Raises:
        TrainingError: it is an update of another model, or is not what the encoding makes.
    """
    if sent.layout != layout_of(like):
        raise TrainingError(
            "an update of another model: names or shapes of its parameters are not this run's"
        )
    kinds = KINDS.get(sent.wire)
    if kinds is None:
        raise TrainingError(f"an update in an unknown encoding {sent.wire!r}")
    size = sum(one.size for one in like.values())
    flat_ones = all(one.ndim == 1 for one in sent.arrays.values())
    if {k: v.dtype for k, v in sent.arrays.items()} != kinds or not flat_ones:
        raise _malformed(sent.wire, "its arrays are others")
    if not all(np.isfinite(v).all() for v in sent.arrays.values()):
        raise _malformed(sent.wire, "it holds numbers that are not finite")
    flat = _UNPACK[sent.wire](sent.arrays, size)
    found, at = {}, 0
    for name in sorted(like):
        one = like[name]
        found[name] = flat[at : at + one.size].reshape(one.shape)
        at += one.size
    return {name: found[name] for name in like}


def compress(
    change: Mapping[str, np.ndarray],
    memory: Mapping[str, np.ndarray] | None,
    wire: str,
    *,
    seed: int,
    share: float = 1.0,
) -> tuple[Encoded, Arrays | None]:
    """What is sent of change + memory, and the memory that is left: both of the same shapes.

    Nothing is left of float32: None. Raises TrainingError as `encode` does.
    """
    if memory is not None:
        change = {name: one + memory[name] for name, one in change.items()}
    sent = encode(change, wire, seed=seed, share=share)
    if wire == "float32":
        return sent, None
    came = decode(sent, change)
    return sent, {name: np.asarray(one - came[name]) for name, one in change.items()}


def _flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [np.ravel(arrays[name]) for name in sorted(arrays)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _malformed(wire: str, why: str) -> TrainingError:
    return TrainingError(f"an update that is no {wire}: {why}; is the site of another version?")


def _whole(flat: np.ndarray, seed: int, share: float) -> Arrays:
    return {"values": flat}


def _half(flat: np.ndarray, seed: int, share: float) -> Arrays:
    largest = float(np.max(np.abs(flat), initial=0.0))
    if largest > float(np.finfo(np.float16).max):
        raise TrainingError(
            f"an update of {largest:g} is beyond float16: set a smaller learning-rate, or "
            "update-wire='float32'"
        )
    return {"values": flat.astype(np.float16)}


def _values(arrays: Arrays, size: int) -> np.ndarray:
    if len(arrays["values"]) != size:
        raise _malformed("update", f"{len(arrays['values'])} numbers for {size}")
    return arrays["values"].astype(np.float32)


def _eighths(flat: np.ndarray, seed: int, share: float) -> Arrays:
    buckets = np.pad(flat, (0, -len(flat) % BUCKET)).reshape(-1, BUCKET).astype(np.float64)
    scales = np.abs(buckets).max(axis=1).astype(np.float32)
    level = buckets / np.where(scales > 0, scales, 1)[:, None] * LEVELS
    low = np.floor(level)
    up = np.random.default_rng(seed).random(level.shape) < level - low
    codes = np.clip(low + up, -LEVELS, LEVELS).astype(np.int8)
    return {"codes": codes.reshape(-1)[: len(flat)], "scales": scales}


def _from_eighths(arrays: Arrays, size: int) -> np.ndarray:
    codes, scales = arrays["codes"], arrays["scales"]
    if len(codes) != size or len(scales) != math.ceil(size / BUCKET):
        raise _malformed("int8", f"{len(codes)} codes and {len(scales)} scales for {size} numbers")
    if (scales < 0).any() or (codes < -LEVELS).any():
        raise _malformed("int8", "a scale or a code is out of range")
    return codes.astype(np.float32) * (np.repeat(scales, BUCKET)[:size] / LEVELS)


def _largest(flat: np.ndarray, seed: int, share: float) -> Arrays:
    count = max(1, math.ceil(share * len(flat)))
    at = np.sort(np.argpartition(np.abs(flat), len(flat) - count)[len(flat) - count :])
    return {"positions": at.astype(np.int32), "values": flat[at]}


def _from_largest(arrays: Arrays, size: int) -> np.ndarray:
    at = arrays["positions"]
    fits = len(at) == len(arrays["values"]) and 0 < len(at) <= size
    if not fits or at[0] < 0 or at[-1] >= size or (np.diff(at) <= 0).any():
        raise _malformed("topk", "its positions are not in order or beyond the model")
    flat = np.zeros(size, np.float32)
    flat[at] = arrays["values"]
    return flat


_PACK = {"float32": _whole, "float16": _half, "int8": _eighths, "topk": _largest}
_UNPACK = {"float32": _values, "float16": _values, "int8": _from_eighths, "topk": _from_largest}
