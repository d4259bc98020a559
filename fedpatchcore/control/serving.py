"""The control room as a process: loopback without TLS, any other address with it alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from fedpatchcore.control.app import application
from fedpatchcore.control.door import LOOPBACK
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError, ControlError

__all__ = ["AT_HOME", "serve"]

AT_HOME = ("127.0.0.1", "localhost", "::1")


def serve(
    room: Room,
    listen: Address,
    *,
    names: tuple[str, ...] = (),
    certificate: Path | None = None,
    key: Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until stopped. While nobody can log in, a one-time link for the first admin is told.

    Raises:
        ConfigError: an address that others reach takes a certificate.
        ControlError: the address cannot be had.
    """
    host = listen.host.strip("[]")
    if host not in AT_HOME and not certificate:
        raise ConfigError(
            f"{listen.host} is reached from elsewhere: passwords take --certfile and --keyfile "
            "there, or listen on 127.0.0.1"
        )
    known = (*LOOPBACK, listen.host, *names)
    config = uvicorn.Config(
        application(room, known),
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
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32 * 1024,
    )
    try:
        place = socket.create_server(
            (host, listen.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise ControlError(
            f"cannot listen on {listen.host}:{listen.port}: {error.strerror}"
        ) from None
    port = place.getsockname()[1]
    scheme = "https" if certificate else "http"
    shown = names[0] if names else listen.host
    if room.people.nobody_yet():
        secret = room.people.invite(CONSOLE, "", "admin")
        say(f"first admin, once, within a day: {scheme}://{shown}:{port}/join/{secret}")
    room.start()
    say(f"control room of {room.root} on {scheme}://{shown}:{port}/")
    try:
        uvicorn.Server(config).run(sockets=[place])
    finally:
        place.close()
        room.close()
