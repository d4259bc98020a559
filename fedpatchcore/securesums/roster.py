"""Who may be in a secure sum: the public keys of sites, known from elsewhere than the server.

A server could otherwise surround one site with sites of its own invention and read its vector. A
site's identity is an Ed25519 key (RFC 8032) of its own, which signs what it says in each sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import framed
from fedpatchcore.texts import is_name, one_line

__all__ = ["SIGNATURE_BYTES", "Identity", "Roster"]

SIGNATURE_BYTES = 64


class Identity:
    """A site's own key, from its 32 secret bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @property
    def public(self) -> bytes:
        """32 bytes, for the roster."""
        return self._key.public_key().public_bytes_raw()

    def signed(self, *parts: bytes | str | int) -> bytes:
        """Signature, 64 bytes, of exactly these parts."""
        return self._key.sign(framed(*parts))


@dataclass(frozen=True)
class Roster:
    """Public keys by site, 32 bytes each.

    Raises SecureSumError if a name or a key is none, or two sites have one key.
    """

    keys: Mapping[str, bytes]
    _read: dict[str, Ed25519PublicKey] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(set(self.keys.values())) != len(self.keys):
            raise SecureSumError("two sites of the roster have one key")
        for site, key in self.keys.items():
            if not is_name(site):
                raise SecureSumError(f"the roster names {one_line(repr(site), 60)}, no site")
            try:
                self._read[site] = Ed25519PublicKey.from_public_bytes(key)
            except ValueError:
                raise SecureSumError(f"the roster's key of site '{site}' is none") from None

    def __contains__(self, site: object) -> bool:
        return site in self.keys

    def check(self, site: str, signature: bytes, *parts: bytes | str | int, what: str) -> None:
        """Raise SecureSumError unless that site signed exactly these parts."""
        if site not in self._read:
            raise SecureSumError(
                f"site '{one_line(site, 60)}' is not on the roster: sign one with it "
                "('fedpatchcore certs roster') and give it to every site, or leave it out"
            )
        try:
            self._read[site].verify(signature, framed(*parts))
        except InvalidSignature:
            raise SecureSumError(f"{what} of site '{site}' were not signed by its key") from None
