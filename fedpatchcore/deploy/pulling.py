"""A site's side: the released bank of a product, fetched when it changed, checked before use.

    FOLDER/plate.safetensors            the bank in use
    FOLDER/plate.previous.safetensors   the one before it

What arrives is written beside, measured against the SHA-256 that its ETag names, read as a bank,
and held against the fingerprint of the bank in use; only then it takes that one's place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.deploy.signed import check
from fedpatchcore.errors import BankError, ConfigError, ControlError
from fedpatchcore.files import duplicate, sync
from fedpatchcore.texts import NAME, is_name, one_line

__all__ = ["Pulled", "fetch", "pull", "released", "report_images", "say_alarm", "say_judging"]

LARGEST = 32 * 2**30  # bytes of a bank
SECONDS = 60.0


@dataclass(frozen=True)
class Pulled:
    """What became of it.

    Attributes:
        new: it was another bank than the one in use.
        version: as the control room numbers it.
    """

    file: Path
    digest: str
    version: str
    new: bool


def pull(
    url: str,
    key: str,
    product: str,
    folder: Path,
    *,
    site: str = "",
    signed_by: str = "",
    new_features: bool = False,
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> Pulled:
    """Fetch a product's released bank, and say that this site judges by it: `fetch`, `say_judging`.

    Raises as they do; when the word cannot be said the bank is in use all the same.
    """
    how = {"root_certificates": root_certificates, "client": client}
    told = fetch(url, key, product, folder, signed_by=signed_by, new_features=new_features, **how)
    say_judging(url, key, product, told.digest, site=site, **how)
    return told


def fetch(
    url: str,
    key: str,
    product: str,
    folder: Path,
    *,
    signed_by: str = "",
    new_features: bool = False,
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> Pulled:
    """Fetch a product's released bank, unless it is there already.

    Args:
        url: the control room's address. Without TLS only on this machine: the key is in it.
        signed_by: the control room's public key; a release that it did not sign is not taken.
        new_features: take a bank of other features than those of the bank in use.

    Raises:
        ConfigError: the address or the product's name.
        ControlError: the control room refuses, or cannot be reached; the bank in use stays.
        BankError: what arrived is cut short, damaged or foreign; the bank in use stays.
        FingerprintError: its features are others than those in use.
    """
    _check_url(url)
    if not is_name(product) or "/" in product or product.startswith("."):
        raise ConfigError(f"{product!r} is no product's name")
    file = folder / f"{product}.safetensors"
    held = _digest(file)
    try:
        with _session(url, key, root_certificates, client) as session:
            digest, version = _fetch(session, product, file, held, signed_by, new_features)
    except (httpx.HTTPError, OSError) as error:
        raise _unreachable(url, error) from None
    return Pulled(file, digest, version, digest != held)


def say_judging(
    url: str,
    key: str,
    product: str,
    digest: str,
    *,
    site: str = "",
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> None:
    """Say that this site judges by a bank from now on. Raises as `released`."""
    told = {"product": product, "digest": digest} | ({"site": site} if site else {})
    _asked(url, key, "/api/judging", root_certificates, client, **told)


def say_alarm(
    url: str,
    key: str,
    kind: str,
    words: str,
    *,
    product: str = "",
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> None:
    """Say that something at this site needs a person (``kind``: drift, …). Raises as `released`."""
    told = {"kind": kind, "words": words, "product": product}
    _asked(url, key, "/api/alarms", root_certificates, client, **told)


def released(
    url: str,
    key: str,
    *,
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> list[str]:
    """The products in production that a site's key may ask for.

    Raises:
        ConfigError: the address.
        ControlError: the control room refuses, or cannot be reached.
    """
    return [one["product"] for one in _asked(url, key, "/api/products", root_certificates, client)]


def report_images(
    url: str,
    key: str,
    images: int,
    *,
    root_certificates: Path | None = None,
    client: Callable[..., httpx.Client] = httpx.Client,
) -> None:
    """Tell how many training images this site has by now. Raises as `released`."""
    _asked(url, key, "/api/images", root_certificates, client, images=images)


def _asked(
    url: str,
    key: str,
    path: str,
    root_certificates: Path | None,
    client: Callable[..., httpx.Client],
    **told: int | str,
) -> Any:
    _check_url(url)
    try:
        with _session(url, key, root_certificates, client) as session:
            answer = session.post(path, json=told) if told else session.get(path)
            _answered(answer)
            return answer.json()
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise _unreachable(url, error) from None


def _check_url(url: str) -> None:
    host = httpx.URL(url).host if url.startswith(("http://", "https://")) else ""
    if not host or (url.startswith("http://") and host not in ("127.0.0.1", "localhost", "::1")):
        raise ConfigError(f"{one_line(url, 100)}: an address with https:// (http:// on loopback)")


def _session(
    url: str, key: str, root_certificates: Path | None, client: Callable[..., httpx.Client]
) -> httpx.Client:
    return client(
        base_url=url,
        headers={"authorization": f"Bearer {key}"},
        timeout=SECONDS,
        verify=str(root_certificates) if root_certificates else True,
    )


def _unreachable(url: str, error: Exception) -> ControlError:
    reason = one_line(error, 200) or type(error).__name__
    return ControlError(f"cannot pull from {url}: {reason}; the bank in use stays")


def _fetch(
    session: httpx.Client,
    product: str,
    file: Path,
    held: str,
    signed_by: str,
    new_features: bool,
) -> tuple[str, str]:
    """SHA-256 and number of the released bank, which is in use when this returns."""
    headers = {"if-none-match": f'"{held}"'} if held else {}
    path = f"/api/products/{quote(product, safe='')}/bank"
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    with session.stream("GET", path, headers=headers) as answer:
        version = one_line(answer.headers.get("x-bank-version", ""), NAME)
        same = answer.status_code == 304 and bool(held)
        if answer.status_code != 200 and not same:
            answer.read()
            _answered(answer)
        if signed_by:
            tag = held if same else answer.headers.get("etag", "").strip('"')
            check(signed_by, answer.headers.get("x-bank-signature", ""), product, tag)
        if same:
            return held, version
        expected = answer.headers.get("etag", "").strip('"')
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            digest = _write(answer, part)
            if digest != expected:
                raise BankError(
                    f"what came for {product} is not the bank that was released: its SHA-256 is "
                    f"{digest[:12]}…, not {one_line(expected[:12], 12)}…; the bank in use stays"
                )
            bank = MemoryBank.load(part)
            if SHARED not in bank.sections:
                bank.section(product)
            if file.is_file() and not new_features:
                before = MemoryBank.load(file).fingerprint
                before.require(bank.fingerprint, ours=str(file), theirs="the released bank")
            if file.is_file():
                previous = file.with_name(f"{product}.previous.safetensors")
                duplicate(file, previous, link=True)
            part.replace(file)
            sync(file.parent)
        finally:
            part.unlink(missing_ok=True)
    return digest, version


def _write(answer: httpx.Response, part: Path) -> str:
    told, size = hashlib.sha256(), 0
    with part.open("wb") as target:
        for piece in answer.iter_bytes():
            size += len(piece)
            if size > LARGEST:
                raise BankError(f"the released bank is larger than {LARGEST >> 30} GB")
            told.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return told.hexdigest()


def _answered(answer: httpx.Response) -> None:
    """Raise ControlError with the control room's own line if it refused."""
    if answer.status_code < 400 and answer.status_code != 304:
        return
    try:
        told = answer.json().get("error")
    except (ValueError, AttributeError):
        told = None
    words = one_line(told, 300) if told else f"it answers with {answer.status_code}"
    raise ControlError(f"the control room: {words}")


def _digest(file: Path) -> str:
    """SHA-256 of the bank in use; empty where there is none."""
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
