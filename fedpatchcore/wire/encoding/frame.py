"""Arrays ↔ one Zstandard frame whose size is known before it is opened.

What a frame holds is fixed by its format and shape, so the receiver computes the exact size
first; a frame that claims another one, or more than `EXPANSION` times its own bytes, is refused
before memory is spent on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import zstandard

__all__ = ["EXPANSION", "FREE_BYTES", "fits", "squeeze", "unsqueeze"]

LEVEL = 12
EXPANSION = 64  # no honest rows shrink more
FREE_BYTES = 1 << 26  # up to here any expansion is harmless
MAX_WINDOW = 1 << 27


def squeeze(*arrays: np.ndarray) -> np.ndarray:
    """Arrays laid end to end and compressed, uint8 ``[n]``; little-endian, no shapes inside."""
    raw = b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)
    return np.frombuffer(zstandard.ZstdCompressor(level=LEVEL).compress(raw), np.uint8)


def fits(size: int, payload: int) -> bool:
    """Whether ``payload`` compressed bytes may stand for ``size`` bytes."""
    return size <= max(FREE_BYTES, EXPANSION * payload)


def unsqueeze(
    payload: np.ndarray, shapes: Sequence[tuple[str, tuple[int, ...]]]
) -> list[np.ndarray]:
    """Inverse of `squeeze` for arrays of these (dtype, shape). Raises ValueError."""
    if payload.dtype != np.uint8 or payload.ndim != 1:
        raise ValueError(f"compressed bytes are {payload.dtype} {payload.shape}, not uint8 [n]")
    counts = [int(np.prod([int(n) for n in shape], dtype=object)) for _, shape in shapes]
    sizes = [n * np.dtype(kind).itemsize for n, (kind, _) in zip(counts, shapes, strict=True)]
    raw = _decompress(payload.tobytes(), sum(sizes))
    found, at = [], 0
    for (kind, shape), count, size in zip(shapes, counts, sizes, strict=True):
        found.append(np.frombuffer(raw, kind, count, at).reshape(shape))
        at += size
    return found


def _decompress(packed: bytes, size: int) -> bytes:
    if not fits(size, len(packed)):
        raise ValueError(f"{len(packed):,} bytes claim to stand for {size:,}")
    try:
        claimed = zstandard.get_frame_parameters(packed).content_size
        if claimed != size:
            raise ValueError(f"compressed bytes hold {claimed:,} bytes, expected {size:,}")
        opener = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        raw = opener.decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"compressed bytes are damaged or cut short ({error})") from None
    if len(raw) != size:
        raise ValueError(f"compressed bytes hold {len(raw):,} bytes, expected {size:,}")
    return raw
