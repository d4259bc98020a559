"""The roster of secure sums: sites' own keys, and the list of them that the CA signs.

    <folder>/sites/<site>/   sums.key  sums.pub  roster.json    beside what `certs` made there
    <folder>/roster.json                                         the latest, for every site

A site that makes ``sums.key`` by itself sends ``sums.pub`` alone. Every site gets every new roster;
``sums.key`` belongs where the images are (the worker's user), not to the node, whose user runs the
app that the server's operator submits.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpatchcore.deploy.certs import check_name, signing_key, write_file
from fedpatchcore.errors import CertificateError, SecureSumError
from fedpatchcore.securesums.roster_file import SignedRoster, read_roster, roster_text

__all__ = ["make_roster", "make_sums_key"]

ROSTER = "roster.json"


def make_sums_key(folder: Path, site: str) -> Path:
    """Make ``sums.key`` and ``sums.pub`` in ``folder``, as a site may do by itself; returns it.

    Raises CertificateError: a name that is no plain file name, or there is a key already.
    """
    check_name(site)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_file(folder / "sums.key", private, secret=True)
    write_file(folder / "sums.pub", f"{key.public_key().public_bytes_raw().hex()}\n".encode())
    return folder


def make_roster(folder: Path, without: Collection[str] = ()) -> SignedRoster:
    """Sign the roster of all sites below ``folder/sites`` and lay it beside each one's key.

    Sites without ``sums.pub`` get a key pair. The new roster's number is one above the last one's.

    Args:
        without: sites that are taken off; their folders stay.

    Raises:
        CertificateError: no CA, no sites, a name that is no site's, or a key that is none.
    """
    authority = signing_key(folder)
    sites = sorted(p.name for p in (folder / "sites").glob("*") if p.is_dir())
    if unknown := sorted(set(without) - set(sites)):
        raise CertificateError(f"{folder / 'sites'} holds no site {', '.join(unknown)}")
    on_it = [site for site in sites if site not in without]
    if not on_it:
        raise CertificateError(
            f"no site below {folder / 'sites'}: 'fedpatchcore certs site {folder} NAME' makes one"
        )
    for site in on_it:
        if not (folder / "sites" / site / "sums.pub").exists():
            make_sums_key(folder / "sites" / site, site)
    path, authority_file = folder / ROSTER, folder / "ca" / "ca.crt"
    try:
        number = 1 + (read_roster(path, authority_file).number if path.exists() else 0)
        keys = {site: _public(folder / "sites" / site / "sums.pub") for site in on_it}
        text = roster_text(keys, number, f"{datetime.now(UTC):%Y-%m-%d}", authority)
    except SecureSumError as error:
        raise CertificateError(str(error)) from None
    for place in (folder, *(folder / "sites" / site for site in on_it)):
        write_file(place / ROSTER, text.encode(), new=False)
    return read_roster(path, authority_file)


def _public(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} holds no public key ({error})") from None
