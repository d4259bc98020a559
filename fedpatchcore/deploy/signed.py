"""A released bank's signature: Ed25519 over the product's name and the SHA-256 of the file."""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedpatchcore.errors import BankError, ConfigError

__all__ = ["check", "statement"]

WHAT = b"fedpatchcore bank release 1"


def check(public: str, signature: str, product: str, digest: str) -> None:
    """Hold a release against the public key.

    Raises:
        ConfigError: the public key is none.
        BankError: the release is not signed, or by another key, or was another product's.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
    except ValueError:
        raise ConfigError("no public key: 'fedpatchcore control key' tells it") from None
    try:
        key.verify(base64.b64decode(signature, validate=True), statement(product, digest))
    except (InvalidSignature, ValueError):
        raise BankError(
            f"the release for {product} is not signed by the key that this site was told; the "
            "bank in use stays"
        ) from None


def statement(product: str, digest: str) -> bytes:
    """What is signed."""
    return b"\n".join((WHAT, product.encode(errors="replace"), digest.encode()))
