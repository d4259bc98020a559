"""Certificates of cameras, by a CA that a test made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["camera_of"]


def camera_of(pki: Path, name: str) -> tuple[str, str]:
    """A camera's certificate of this CA, and its key."""
    ca = x509.load_pem_x509_certificate((pki / "ca" / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki / "ca" / "ca.key").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .sign(signer, hashes.SHA256())
    )
    (pki / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, form, none)
    (pki / f"{name}.key").write_bytes(data)
    return str(pki / f"{name}.crt"), str(pki / f"{name}.key")
