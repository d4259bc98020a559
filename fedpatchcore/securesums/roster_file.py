"""The roster as a file: sites and their public keys, signed by the federation's authority.

    {"sites": {"north": "<64 hex digits>"}, "number": 3, "made": "2026-11-28", "signature": "…"}

The signature is ECDSA with SHA-256 by the key of ``ca.crt`` over everything else. ``number`` rises
with every roster, so that a site that has seen a later one refuses an older.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import framed
from fedpatchcore.securesums.roster import Identity, Roster

__all__ = ["SignedRoster", "read_identity", "read_roster", "roster_text"]

LARGEST = 1 << 22  # bytes of a roster: thousands of sites


@dataclass(frozen=True)
class SignedRoster:
    """A roster whose signature was checked.

    Attributes:
        number: rises with every roster.
        authority: SHA-256 of the certificate that signed it, hexadecimal.
    """

    roster: Roster
    number: int
    made: str
    authority: str


def _signed_part(sites: Mapping[str, str], number: int, made: str) -> bytes:
    told = {"sites": dict(sites), "number": number, "made": made}
    return framed("fedpatchcore roster 1", json.dumps(told, sort_keys=True))


def roster_text(
    keys: Mapping[str, bytes], number: int, made: str, authority: ec.EllipticCurvePrivateKey
) -> str:
    """The file's content, signed. Raises SecureSumError if the keys make no roster."""
    sites = {site: key.hex() for site, key in sorted(Roster(dict(keys)).keys.items())}
    signature = authority.sign(_signed_part(sites, number, made), ec.ECDSA(hashes.SHA256()))
    told = {"sites": sites, "number": number, "made": made, "signature": signature.hex()}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def read_roster(path: Path, authority: Path | None = None) -> SignedRoster:
    """A roster, its signature checked.

    Args:
        authority: certificate of who signs; by default ``ca.crt`` beside the roster.

    Raises:
        SecureSumError: one of both can't be read, or the signature is not the authority's.
    """
    authority = authority or path.with_name("ca.crt")
    told = _table(path)
    certificate = _certificate(authority)
    try:
        sites, number, made = told["sites"], told["number"], told["made"]
        if not isinstance(sites, dict) or type(number) is not int or not isinstance(made, str):
            raise ValueError("sites, number or made is of another kind")
        signature = bytes.fromhex(told["signature"])
        keys = {site: bytes.fromhex(key) for site, key in sites.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise SecureSumError(f"roster {path} cannot be read ({error!r})") from None
    try:
        certificate.public_key().verify(
            signature, _signed_part(sites, number, made), ec.ECDSA(hashes.SHA256())
        )
    except (InvalidSignature, AttributeError, TypeError):
        raise SecureSumError(
            f"roster {path} was not signed by {authority}: get the roster that 'fedpatchcore certs "
            "roster' made, with its ca.crt"
        ) from None
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return SignedRoster(Roster(keys), number, made, fingerprint)


def read_identity(path: Path) -> Identity:
    """A site's own key for secure sums, PEM (PKCS 8). Raises SecureSumError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SecureSumError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError):
        raise SecureSumError(f"{path} holds no private key that can be read") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SecureSumError(f"{path} is no Ed25519 key: name the site's sums.key (sums-key)")
    return Identity(key.private_bytes_raw())


def _table(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()[: LARGEST + 1]
        if len(raw) > LARGEST:
            raise ValueError("too large")
        told = json.loads(raw)
    except OSError as error:
        raise SecureSumError(f"cannot read roster {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise SecureSumError(f"{path} is no roster") from None
    if not isinstance(told, dict):
        raise SecureSumError(f"{path} is no roster")
    return told


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise SecureSumError(
            f"cannot read {path}, which a roster is checked against: {error.strerror or error}"
        ) from None
    except ValueError:
        raise SecureSumError(f"{path} is no certificate") from None
