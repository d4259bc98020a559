"""Pages as a process: loopback without TLS, any other address with it alone."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError, ControlError
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.people import People

__all__ = ["AT_HOME", "CONSOLE", "serve_pages", "tell_first_link"]

CONSOLE = Actor("console")
AT_HOME = ("127.0.0.1", "localhost", "::1")


def tell_first_link(people: People, at: str, say: Callable[[str], None]) -> None:
    """While nobody can log in, a one-time link for the first admin is told."""
    if people.nobody_yet():
        secret = people.invite(CONSOLE, "", people.roles[-1])
        say(f"first admin, once, within a day: {at}/join/{secret}")


def serve_pages(
    make: Callable[[], FastAPI],
    listen: Address,
    *,
    names: tuple[str, ...] = (),
    certificate: Path | None = None,
    key: Path | None = None,
    clients: Path | None = None,
    words: str = "--certfile and --keyfile",
    ready: Callable[[str], None],
) -> None:
    """Serve until stopped.

    Args:
        make: the application; made once the address is had.
        clients: CA of certificates that every caller must show; None: none is asked for.
        words: how certificate and key are called where they are told.
        ready: told the address of the pages, just before they are served.

    Raises:
        ConfigError: an address that others reach takes a certificate, as ``clients`` does; or
            certificate, key or CA cannot be used.
        ControlError: the address cannot be had.
    """
    host = listen.host.strip("[]")
    if host not in AT_HOME and not certificate:
        raise ConfigError(
            f"{listen.host} is reached from elsewhere: passwords take {words} there, or listen on "
            "127.0.0.1"
        )
    if clients and not certificate:
        raise ConfigError(f"certificates of callers take one of ours: {words}")
    if certificate:
        _usable(certificate, key, clients)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = socket.create_server((host, listen.port), family=family)
    except OSError as error:
        raise ControlError(
            f"cannot listen on {listen.host}:{listen.port}: {os.strerror(error.errno or 0)}; "
            "another address:port goes to listen"
        ) from None
    with closing(place):
        config = uvicorn.Config(
            make(),
            host=host,
            port=listen.port,
            log_level="warning",
            access_log=False,  # one-time links are in it
            server_header=False,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_ca_certs=str(clients) if clients else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if clients else ssl.CERT_NONE,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=32 * 1024,
        )
        scheme = "https" if certificate else "http"
        shown = names[0] if names else listen.host
        ready(f"{scheme}://{shown}:{place.getsockname()[1]}")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _leave)  # uvicorn hands it on once it has ended
        uvicorn.Server(config).run(sockets=[place])


def _usable(certificate: Path, key: Path | None, clients: Path | None) -> None:
    """Raises ConfigError for files that TLS cannot be served with: before anything begins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(
            f"cannot serve with the certificate {certificate} and the key {key}: "
            f"{one_line(error, 200)}; both are PEM, belong together, and the key has no password"
        ) from None
    try:
        if clients:
            context.load_verify_locations(clients)
    except OSError as error:
        raise ConfigError(
            f"{clients} is no CA that callers' certificates could be held against: "
            f"{one_line(error, 200)}; PEM is needed"
        ) from None


def _leave(*_: object) -> None:
    """End as after Ctrl-C, so that what was started beside the pages is ended too."""
    sys.exit(0)
