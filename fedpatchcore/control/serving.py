"""The control room as a process: loopback without TLS, any other address with it alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedpatchcore.control.app import application
from fedpatchcore.control.room import Room
from fedpatchcore.deploy.network import Address
from fedpatchcore.web.door import LOOPBACK
from fedpatchcore.web.serving import serve_pages, tell_first_link

__all__ = ["serve"]


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

    def ready(at: str) -> None:
        tell_first_link(room.people, at, say)
        room.start()
        say(f"control room of {room.root} on {at}/")

    known = (*LOOPBACK, listen.host, *names)
    try:
        serve_pages(
            lambda: application(room, known),
            listen,
            names=names,
            certificate=certificate,
            key=key,
            ready=ready,
        )
    finally:
        room.close()
