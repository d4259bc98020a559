"""Why a server's certificate was refused, in words, and how a new one is made."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedpatchcore.deploy.certs import Certificate, read_certificate
from fedpatchcore.deploy.doctor.checks import Check, fail

__all__ = ["refusal", "renewal"]


def refusal(
    error: ssl.SSLCertVerificationError,
    *,
    shown: x509.Certificate | None,
    host: str,
    who: str,
    ca: Path | None,
    get_ca: str,
) -> Check:
    """Why a certificate was not accepted, and what helps.

    Args:
        shown: the certificate, if it could be read.
        host: the name by which the server was called.
        who: in words, whose signature was asked for.
        ca: the CA file; None for this system's authorities.
        get_ca: where the right CA file comes from.
    """
    until = f"{shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" if shown else "an unknown date"
    since = f"{shown.not_valid_before_utc:%Y-%m-%d %H:%M} UTC" if shown else "an unknown date"
    if error.verify_code in (10, 9) and _outdated(ca):
        return fail(
            f"the CA certificate in {ca} is not valid now",
            "check this machine's clock ('timedatectl'); else get the current ca.crt from "
            "whoever runs the server",
        )
    if error.verify_code == 10:
        return fail(
            f"the server's certificate expired on {until}",
            f"at the server: {renewal('server certificate')}; if that date lies ahead, this "
            "machine's clock is wrong ('timedatectl')",
        )
    if error.verify_code == 9:
        return fail(
            f"the server's certificate is valid only from {since}",
            "this machine's clock is behind: 'timedatectl set-ntp true'",
        )
    if error.verify_code in (62, 64):
        names = ", ".join(_names(shown)) or "no name"
        return fail(
            f"the server's certificate is for {names}, not for '{host}'",
            f"use one of these names as --superlink, or make a new certificate at the server: "
            f"fedpatchcore certs server pki --host {host}",
        )
    issuer = shown.issuer.rfc4514_string() if shown else "somebody else"
    if ca and issuer == _read(ca).subject:
        issuer = f"another one of the same name, {issuer}"
    return fail(
        f"wrong CA: the server's certificate was not signed by {who} but by {issuer} "
        f"({error.verify_message})",
        get_ca,
    )


def _read(ca: Path) -> Certificate:
    return read_certificate(ca.expanduser())


def _outdated(ca: Path | None) -> bool:
    one = _read(ca) if ca else None
    return one is not None and not one.not_before <= datetime.now(UTC) <= one.not_after


def _names(certificate: x509.Certificate | None) -> list[str]:
    if certificate is None:
        return []
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found.value]


def renewal(what: str = "server certificate") -> str:
    """How the server's certificate, or the CA, is made anew."""
    if what == "CA":
        return "a new CA (fedpatchcore certs init) and its ca.crt at every site"
    return "move server.crt and server.key away, then fedpatchcore certs server pki --host NAME"
