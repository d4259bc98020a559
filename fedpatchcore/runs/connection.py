"""Connections to SuperLinks, as Flower's ``config.toml`` lists them; why one does not work."""

from __future__ import annotations

import shlex
import socket
import tomllib
from pathlib import Path
from typing import Any

from fedpatchcore.errors import ConfigError

__all__ = ["find_connection", "why_unreachable"]


def find_connection(file: Path, wanted: str = "") -> tuple[str, dict[str, Any]]:
    """Name and table of a connection; the file's default one where none is wanted by name.

    Flower's untouched default starts a simulation in the background of this machine; that
    is taken only where it is asked for by name.

    Raises:
        ConfigError: there is none; the message holds a shell line that adds one.
    """
    try:
        table = tomllib.loads(file.read_text()).get("superlink") or {}
    except FileNotFoundError:
        table = {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from None
    name = wanted or str(table.get("default") or "")
    found = table.get(name) if name else None
    if isinstance(found, dict) and (wanted or found.get("address") != ":local:"):
        return name, found
    others = [key for key, value in table.items() if isinstance(value, dict)]
    known = f" (it has: {', '.join(others)})" if wanted and others else ""
    what = f"connection '{wanted}' is not" if wanted else "no connection to a server is"
    lines = (
        f"[superlink.{wanted or 'my-server'}]",
        'address = "server:8000"',
        'root-certificates = "/path/to/ca.crt"',
    )
    raise ConfigError(
        f"{what} in {file}{known}; put it there, with your address and certificate (on a closed "
        "test network only: insecure = true), by: "
        f"mkdir -p {shlex.quote(str(file.parent))} && "
        f"printf '%s\\n' {' '.join(map(shlex.quote, lines))} >> {shlex.quote(str(file))}"
        + ("" if wanted else " ; and give its name, my-server, to this command")
    )


def why_unreachable(file: Path, wanted: str = "") -> str:
    """Why a SuperLink may be out of reach: nothing there, or TLS that does not fit."""
    try:
        name, table = find_connection(file, wanted)
    except ConfigError as error:
        return str(error)
    address = str(table.get("address"))
    what = f"cannot reach the SuperLink at {address} (connection '{name}')"
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=3):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return f"{what}: {why}: start it there, or correct address in {file}"
    if table.get("insecure"):
        return (
            f"{what}: something answers there, but not without TLS: give root-certificates "
            f"instead of insecure in {file}"
        )
    return (
        f"{what}: something answers there, but TLS does not come about: root-certificates in "
        f"{file} must be the CA of the server's certificate, and that certificate must name "
        f"'{host}' (a server without TLS needs insecure = true)"
    )
