"""The station as a process: until it is told to stop, by SIGTERM or Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError
from fedpatchcore.settings import listed
from fedpatchcore.station.application import application
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from fedpatchcore.web.door import LOOPBACK
from fedpatchcore.web.serving import serve_pages, tell_first_link

__all__ = ["run_station"]


def run_station(
    settings: StationSettings,
    say: Callable[[str], None] = print,
    begun: Callable[[Station], None] = lambda station: None,
) -> None:
    """Run until stopped; ``begun`` is told once it judges. Raises what `Station` raises."""
    listen = Address.parse(settings.listen)
    names = listed(settings.name)
    made = Station(settings, say)

    def ready(at: str) -> None:
        tell_first_link(made.place.people, at, say)
        made.start()
        say(f"station {settings.station} judges; pages and HTTP on {at}/")
        begun(made)

    try:
        serve_pages(
            lambda: application(made, (*LOOPBACK, listen.host, *names)),
            listen,
            names=names,
            certificate=_file(settings.certfile),
            key=_file(settings.keyfile),
            clients=_file(settings.client_ca),
            words="certfile and keyfile in the station's file",
            ready=ready,
        )
    finally:
        made.close()


def _file(told: str) -> Path | None:
    """Raises ConfigError if it is not there."""
    if not told:
        return None
    file = Path(told).expanduser()
    if not file.is_file():
        raise ConfigError(f"{file} does not exist")
    return file
