"""Certificates and node keys of a federation, in folders that say who gets what.

    <folder>/ca/       ca.crt  ca.key               keep ca.key offline; it makes everything else
    <folder>/server/   ca.crt  server.crt  server.key  superexec.secret    goes to the server
    <folder>/sites/<site>/   ca.crt  node.key  node.pub                    goes to that site alone

TLS server certificates are ECDSA P-256 signed by the federation's own CA (RFC 5280 profile).
Node keys are ECDSA P-384 in OpenSSH format, what a Flower SuperNode authenticates with; only
``node.pub`` is told to the SuperLink. Secret files have mode 0600 in folders of mode 0700.
Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedpatchcore.errors import CertificateError

__all__ = [
    "CA_DAYS",
    "SERVER_DAYS",
    "Certificate",
    "check_name",
    "make_authority",
    "make_key",
    "make_server",
    "make_site",
    "read_certificate",
    "signing_key",
    "write_file",
]

CA_DAYS = 3650
SERVER_DAYS = 397
# A site's clock may be behind the CA's: certificates are valid from a day ago.
BACKDATE = timedelta(days=1)
LOCAL_NAMES = ("localhost", "127.0.0.1", "superlink")
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Certificate:
    """What a person wants to know of a certificate file. Times are UTC."""

    path: Path
    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str

    def days_left(self, now: datetime | None = None) -> float:
        """Days until it expires; negative once it has."""
        return (self.not_after - (now or datetime.now(UTC))).total_seconds() / 86400


def make_authority(folder: Path, *, name: str = "FedPatchCore CA", days: int = CA_DAYS) -> Path:
    """Make the federation's CA in ``folder/ca``; returns that folder.

    Raises CertificateError if there is one already or the folder cannot be written.
    """
    _days(days)
    ca = folder / "ca"
    _must_be_new(ca / "ca.key", ca / "ca.crt")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    write_file(ca / "ca.key", _pem(key), secret=True)
    write_file(ca / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
    return ca


def make_server(folder: Path, hosts: Sequence[str], *, days: int = SERVER_DAYS) -> Path:
    """Make the server's certificate for these host names and IP addresses; returns its folder.

    ``localhost``, ``127.0.0.1`` and ``superlink`` are always among the names: the proxy and the
    ServerApp reach the SuperLink under them.

    Raises CertificateError: no CA, bad host name, or ``folder/server`` has one already.
    """
    _days(days)
    server = folder / "server"
    _must_be_new(server / "server.key", server / "server.crt")
    ca_key, ca = _authority(folder)
    names = [_general_name(host) for host in dict.fromkeys([*hosts, *LOCAL_NAMES])]
    key = ec.generate_private_key(ec.SECP256R1())
    common = next(iter(hosts), LOCAL_NAMES[0])[:64]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    end = min(days, max(1, int((ca.not_valid_after_utc - datetime.now(UTC)).days)))
    certificate = (
        _builder(subject, ca.subject, key.public_key(), end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_file(server / "server.key", _pem(key), secret=True)
    write_file(server / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
    write_file(server / "ca.crt", ca.public_bytes(serialization.Encoding.PEM), new=False)
    if not (server / "superexec.secret").exists():
        write_file(server / "superexec.secret", secrets.token_bytes(32), secret=True)
    return server


def make_site(folder: Path, site: str) -> Path:
    """Make the folder of one site, with its key pair and the CA's certificate; returns it.

    Raises CertificateError: no CA, a name that is no plain file name, or the site has a key.
    """
    ca = read_certificate(folder / "ca" / "ca.crt")
    own = make_key(folder / "sites" / site, site)
    write_file(own / "ca.crt", ca.path.read_bytes(), new=False)
    return own


def make_key(folder: Path, site: str) -> Path:
    """Make ``node.key`` and ``node.pub`` in ``folder``, as a site may do by itself.

    Raises CertificateError: a name that is no plain file name, or there is a key already.
    """
    check_name(site)
    _must_be_new(folder / "node.key", folder / "node.pub")
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    write_file(folder / "node.key", private, secret=True)
    write_file(folder / "node.pub", public + f" {site}\n".encode())
    return folder


def check_name(site: str) -> None:
    """Raise CertificateError for a name that is no plain file name."""
    if not SITE_NAME.fullmatch(site):
        raise CertificateError(
            f"'{site}' is no site name: use letters, digits, dot, dash, underscore (63 at most)"
        )


def signing_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The CA's own key. Raises CertificateError."""
    return _authority(folder)[0]


def read_certificate(path: Path) -> Certificate:
    """Facts of a PEM certificate. Raises CertificateError if it is missing or damaged."""
    found = _load(path)
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(str(name.value) for name in extension.value)
    except x509.ExtensionNotFound:
        names = ()
    return Certificate(
        path,
        found.subject.rfc4514_string(),
        found.issuer.rfc4514_string(),
        names,
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        found.fingerprint(hashes.SHA256()).hex(),
    )


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise CertificateError(
            f"certificate {path} cannot be read ({error.strerror}); "
            "'fedpatchcore certs init' makes a CA and all that belongs to it"
        ) from None
    except ValueError as error:
        raise CertificateError(f"{path} is no PEM certificate ({error})") from None


def _authority(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    certificate = _load(folder / "ca" / "ca.crt")
    path = folder / "ca" / "ca.key"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CertificateError(
            f"the CA's key {path} cannot be read ({error.strerror}): bring it back from where "
            "it is kept"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path} is no usable private key ({error})") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{path} is not the key of {folder / 'ca' / 'ca.crt'}")
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.removeprefix("*.").split(".")
    valid = all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", x) for x in labels)
    if not valid or labels[-1].isdigit():
        raise CertificateError(
            f"'{host}' is neither a host name nor an IP address (no scheme, no port)"
        )
    return x509.DNSName(host)


def _days(days: int) -> None:
    if not 1 <= days <= 36500:
        raise CertificateError(f"a lifetime of {days} days cannot be given: 1 to 36500")


def _must_be_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise CertificateError(
                f"{path} exists and is not overwritten: move it away to make a new one"
            )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_file(path: Path, content: bytes, *, secret: bool = False, new: bool = True) -> None:
    """Write with mode 0600 (secret) or 0644, never through an existing file if ``new``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else os.O_TRUNC)
        handle = os.open(path, flags, 0o600 if secret else 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except OSError as error:
        raise CertificateError(f"cannot write {path}: {error.strerror}") from None
