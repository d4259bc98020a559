"""Keys of one sum, and the masks they grow into.

Two X25519 pairs a site (RFC 7748): one to seal shares for another site, one whose agreed key is
the mask of a pair, which one adds and the other subtracts. Keys are told apart by HKDF-SHA256
(RFC 5869) with the session and both names; masks are the ChaCha20 key stream (RFC 8439), read as
little-endian numbers modulo 2^b; shares travel under AES-256-GCM, each key used once.
"""

from __future__ import annotations

import hashlib

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import framed

__all__ = [
    "KEY_BYTES",
    "agreed",
    "commitment",
    "derived",
    "expanded",
    "opened",
    "pair_mask",
    "public_of",
    "sealed",
    "sealed_bytes",
    "stream",
]

KEY_BYTES = 32
TAG_BYTES = 16
ONCE = bytes(12)  # nonce of keys that seal one message and no other


def sealed_bytes(plain: int) -> int:
    """Length of so many bytes once they are sealed."""
    return plain + TAG_BYTES


def derived(secret: bytes, salt: bytes, *about: bytes | str | int) -> bytes:
    """A key of 32 bytes for one use, HKDF-SHA256."""
    return HKDF(SHA256(), KEY_BYTES, salt, framed(*about)).derive(secret)


def stream(seed: bytes, count: int) -> bytes:
    """The first ``count`` bytes of ChaCha20's key stream, nonce and counter 0."""
    return Cipher(ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(count))


def expanded(seed: bytes, length: int, dtype: np.dtype) -> np.ndarray:
    """A mask ``[length]``, uniform modulo 2^b."""
    little = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(stream(seed, length * little.itemsize), little).astype(dtype)


def public_of(private: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes, *, site: str) -> bytes:
    """What two X25519 keys agree on. Raises SecureSumError if ``site`` gave no real key."""
    try:
        other = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(private).exchange(other)
    except ValueError:
        raise SecureSumError(f"site '{site}' sent a key that agrees on nothing") from None


def pair_mask(
    private: bytes, public: bytes, salt: bytes, mine: str, theirs: str, length: int, dtype: np.dtype
) -> np.ndarray:
    """What site ``mine`` adds for site ``theirs``: plus for the first by name, else minus."""
    low, high = sorted((mine, theirs))
    seed = derived(agreed(private, public, site=theirs), salt, "mask", low, high)
    mask = expanded(seed, length, dtype)
    return mask if mine == low else np.negative(mask)


def sealed(shared: bytes, salt: bytes, sender: str, receiver: str, plain: bytes) -> bytes:
    """Sealed for the receiver under a key of this sender, this receiver and this sum."""
    key = derived(shared, salt, "shares", sender, receiver)
    return AESGCM(key).encrypt(ONCE, plain, salt)


def opened(shared: bytes, salt: bytes, sender: str, receiver: str, sealed: bytes) -> bytes:
    """Inverse of `sealed`. Raises SecureSumError, naming the sender."""
    key = derived(shared, salt, "shares", sender, receiver)
    try:
        return AESGCM(key).decrypt(ONCE, sealed, salt)
    except InvalidTag:
        raise SecureSumError(
            f"shares of site '{sender}' do not open: it saw another list of keys, or they were "
            "changed on the way"
        ) from None


def commitment(seed: bytes, salt: bytes, site: str) -> bytes:
    """Tells nothing of a self mask's seed, and fits no other."""
    return hashlib.sha256(framed("self mask", salt, site, seed)).digest()
