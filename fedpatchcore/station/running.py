"""The station as a process: until it is told to stop, by SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station

__all__ = ["run_station"]


def run_station(settings: StationSettings, say: Callable[[str], None] = print) -> None:
    """Run until stopped; raises what `Station` raises."""
    made = Station(settings, say)
    told = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: told.set())
    try:
        made.start()
        say(f"station {settings.station} judges; state in {made.place.folder}")
        told.wait()
    finally:
        made.close()
