"""What a release is signed with: a key of the control room's own, and how a site holds it to that.

Ed25519 over the product's name and the SHA-256 of the bank's file. A site that was told the public
half once takes nothing else, whatever stands between it and the control room.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpatchcore.errors import BankError, ConfigError, ControlError

__all__ = ["Signer", "check"]

WHAT = b"fedpatchcore bank release 1"


class Signer:
    """The key in a file of the control room's folder; made when it is not there yet."""

    def __init__(self, file: Path) -> None:
        try:
            if not file.exists():
                made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(made, "wb") as target:
                    target.write(Ed25519PrivateKey.generate().private_bytes_raw())
                    target.flush()
                    os.fsync(target.fileno())
            self._key = Ed25519PrivateKey.from_private_bytes(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ControlError(f"{file} is no signing key: {error}; restore it") from None

    @property
    def public(self) -> str:
        """What sites are told, as text."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, product: str, digest: str) -> str:
        """The signature of a release, as text."""
        return base64.b64encode(self._key.sign(_said(product, digest))).decode()


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
        key.verify(base64.b64decode(signature, validate=True), _said(product, digest))
    except (InvalidSignature, ValueError):
        raise BankError(
            f"the release for {product} is not signed by the key that this site was told; the "
            "bank in use stays"
        ) from None


def _said(product: str, digest: str) -> bytes:
    return b"\n".join((WHAT, product.encode(errors="replace"), digest.encode()))
