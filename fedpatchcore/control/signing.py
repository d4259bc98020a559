"""What a release is signed with: a key of the control room's own, and how a site holds it to that.

Ed25519 over the product's name and the SHA-256 of the bank's file. A site that was told the public
half once takes nothing else, whatever stands between it and the control room
(`fedpatchcore.deploy.signed`).
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpatchcore.deploy.signed import statement
from fedpatchcore.errors import ControlError

__all__ = ["Signer"]


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
        return base64.b64encode(self._key.sign(statement(product, digest))).decode()
