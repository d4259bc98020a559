"""``fedpatchcore station demo``: a station with something on its line, to click through."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpatchcore.cli.common import console, finite
from fedpatchcore.cli.federated import DEMO
from fedpatchcore.errors import ConfigError

if TYPE_CHECKING:
    from fedpatchcore.station.station import Station

__all__ = ["demo"]

SITE = "plant-a"


def demo(
    out: Annotated[Path, typer.Option(help="Folder of its bank, its parts and its data base.")] = (
        Path("station-demo")
    ),
    listen: Annotated[str, typer.Option(help="Address:port of the pages.")] = "127.0.0.1:8070",
    every: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="A part falls each so many seconds.")
    ] = 4.0,
    minutes: Annotated[
        float, typer.Option(min=0, callback=finite, help="End after so long; 0: by Ctrl-C.")
    ] = 0.0,
) -> None:
    """A station on the demo's bank, and a line on which parts come, some of them defective.

    Five plants build one bank of synthetic images, within a minute and once; then parts of the
    first plant fall into the station's folder one by one. Needs no download and no data.

    Example: fedpatchcore station demo
    """
    from fedpatchcore.data.layouts.discovery import discover
    from fedpatchcore.deploy.network import Address
    from fedpatchcore.site.virtual import sample_folder
    from fedpatchcore.station.demo import Line, training_copy
    from fedpatchcore.station.place import Place
    from fedpatchcore.station.running import run_station
    from fedpatchcore.station.settings import StationSettings
    from fedpatchcore.web.serving import AT_HOME, CONSOLE

    where, place = Address.parse(listen), out.expanduser().absolute()
    if where.host not in AT_HOME:
        raise ConfigError("the demo is for this machine alone: --listen 127.0.0.1:8070")
    _say("writing the synthetic images of five plants (first time only)")
    sample = sample_folder(5)
    bank = place / "bank.safetensors"
    if not bank.is_file():
        _say("five plants build one bank: about a minute, once")
        _federate(sample, bank)
    products = discover(sample / SITE)
    training_copy(products, place / "training")
    (place / "in").mkdir(parents=True, exist_ok=True)
    told = {"station": f"demo-{SITE}", "bank": str(bank), "watch": str(place / "in")}
    told |= {"state": str(place / "state"), "training": str(place / "training")}
    told |= {"shifts": _shifts(datetime.now())}
    told |= {"listen": listen, "poll-seconds": 0.2, "keep-gb": 1.0}
    settings = StationSettings.parse(told, where="station demo")
    kept = Place.open(settings.state_folder())
    again = "" if kept.people.nobody_yet() else kept.people.invite(CONSOLE, "demo", "admin")
    kept.close()
    if again:
        _say(f"to come in as 'demo', once, within a day: http://{listen}/join/{again}")
    line = Line(products, place / "in")

    def begun(made: Station) -> None:
        threading.Thread(target=line.run, args=(made, every), daemon=True).start()
        if minutes:
            clock = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGINT))
            clock.daemon = True
            clock.start()

    with suppress(KeyboardInterrupt):
        run_station(settings, _say, begun)
    _say(f"the demo has ended; {place} holds what it made")


def _shifts(at: datetime) -> str:
    """The usual shifts, and one that ends soon: then passed parts are drawn for a person."""
    soon = [f"{at + timedelta(minutes=after):%H:%M}" for after in (2, 6)]
    return ",".join(sorted({"06:00", "14:00", "22:00", *soon}))


def _federate(sample: Path, bank: Path) -> None:
    """The demo's bank, as `fedpatchcore demo` makes it, in this process."""
    from fedpatchcore.config import RunConfig
    from fedpatchcore.features.backbone import build_backbone
    from fedpatchcore.inprocess import federate
    from fedpatchcore.site.site import Site
    from fedpatchcore.site.virtual import virtual_sites

    told = {**DEMO, "data": str(sample), "heatmaps": 0, "compare-local": False}
    config = RunConfig.parse(told, where="station demo")
    backbone = build_backbone(config)
    sites = virtual_sites(config, 5)
    made = federate([Site(name, one, config, backbone) for name, one in sites.items()])
    bank.parent.mkdir(parents=True, exist_ok=True)
    made.bank.save(bank)


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
