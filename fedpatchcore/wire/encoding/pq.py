"""Product quantisation: pairs of columns, each with its own 16 codewords (Jégou, Douze, Schmid,
PAMI 2011), trained on the very rows that are sent; the codebook travels along.

Codewords are 2 bits a value before entropy coding. Two columns and 16 codewords keep the
codebook small (64 bytes a pair): with 256 codewords it would weigh a quarter of 1,000 rows.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.devices.faiss import faiss_for
from fedpatchcore.wire.encoding.frame import squeeze, unsqueeze
from fedpatchcore.wire.encoding.gain import lengths, scaled_to
from fedpatchcore.wire.encoding.power import scaled_back, scaled_down

__all__ = ["LEAST_ROWS", "SHARED", "decode", "encode", "shapes"]

SHARED = 2  # leading arrays that belong to all rows; in the others a row is the last axis
WIDTH, WORDS, BITS = 2, 16, 4
LEAST_ROWS = 128  # below, the codebook costs more than it saves


def shapes(count: int, dimension: int) -> list[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array of a payload."""
    pairs = -(-dimension // WIDTH)
    words = ("<f2", (pairs, WIDTH, WORDS))
    return [("<i4", (1,)), words, ("<f4", (count,)), ("u1", (pairs, count))]


def encode(rows: np.ndarray, *, seed: int) -> np.ndarray:
    """Payload of float32 ``[k, D]``, k at least `LEAST_ROWS`."""
    faiss = faiss_for("wire='pq'")
    count, dimension = rows.shape
    pairs = -(-dimension // WIDTH)
    padded = np.zeros((count, pairs * WIDTH), np.float32)
    padded[:, :dimension] = rows
    exponent, padded = scaled_down(padded)
    quantiser = faiss.ProductQuantizer(pairs * WIDTH, pairs, BITS)
    quantiser.cp.seed, quantiser.cp.min_points_per_centroid = seed % 2**31, 1
    quantiser.train(padded)
    words = faiss.vector_to_array(quantiser.centroids).reshape(pairs, WORDS, WIDTH)
    packed = quantiser.compute_codes(padded)  # two codes a byte, the first in the low half
    codes = np.stack([packed & 15, packed >> 4], axis=2).reshape(count, -1)[:, :pairs]
    return squeeze(exponent, words.astype("<f2").transpose(0, 2, 1), lengths(rows), codes.T)


def decode(payload: np.ndarray, count: int, dimension: int) -> np.ndarray:
    """Inverse of `encode`. Raises ValueError."""
    pairs = -(-dimension // WIDTH)
    (exponent,), words, norms, codes = unsqueeze(payload, shapes(count, dimension))
    if not np.isfinite(words).all():
        raise ValueError("a codebook that is not finite")
    if codes.max(initial=0) >= WORDS:
        raise ValueError(f"a codeword beyond {WORDS}")
    words = scaled_back(words, exponent)
    rows = np.empty((count, pairs * WIDTH), np.float32)
    for pair in range(pairs):
        rows[:, pair * WIDTH : (pair + 1) * WIDTH] = words[pair].T[codes[pair]]
    return scaled_to(np.ascontiguousarray(rows[:, :dimension]), norms)
