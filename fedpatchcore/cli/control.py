"""The control room: serve it, verify its trail, make a one-time link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpatchcore.cli.common import console, finite, warn
from fedpatchcore.errors import ConfigError, ControlError
from fedpatchcore.places import cache_home

if TYPE_CHECKING:
    from fedpatchcore.control.room import Room

__all__ = ["control"]

control = typer.Typer(
    no_args_is_help=True,
    help="Sites, runs, banks and their history in a browser; who did what.",
)

State = Annotated[
    Path | None,
    typer.Option(help="Folder of its data base and banks; default: below $FEDPATCHCORE_HOME."),
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="FEDPATCHCORE_CONTROL_DATABASE",
        help="PostgreSQL instead of the file: postgresql://user@host/name.",
    ),
]


@control.command("serve")
def serve_room(
    runs: Annotated[Path, typer.Argument(help="Folder of all runs' folders, a run's out-dir.")],
    listen: Annotated[str, typer.Option(help="Address:port of the pages.")] = "127.0.0.1:8090",
    state: State = None,
    connection: Annotated[
        str | None,
        typer.Option(help="SuperLink that runs go to, by its name in Flower's config.toml."),
    ] = None,
    simulate: Annotated[
        int, typer.Option(min=0, help="Instead: so many virtual sites on this machine.")
    ] = 0,
    name: Annotated[
        list[str] | None, typer.Option(help="Host name that browsers use; may be repeated.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certfile", help="Serve HTTPS with this certificate (PEM).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--keyfile", help="The certificate's private key (PEM).")
    ] = None,
    auroc_loss: Annotated[
        float,
        typer.Option(callback=finite, help="Gate: image AUROC that a site may lose by a release."),
    ] = 0.01,
    found_loss: Annotated[
        float,
        typer.Option(callback=finite, help="Gate: share of its defects that it may find less."),
    ] = 0.05,
    stopped_gain: Annotated[
        float, typer.Option(callback=finite, help="Gate: share of its good parts stopped more.")
    ] = 0.05,
    planted_loss: Annotated[
        float,
        typer.Option(callback=finite, help="Gate: share of planted defects found less."),
    ] = 0.05,
    database: DatabaseUrl = "",
    watched: Annotated[
        list[Path] | None,
        typer.Option("--watch-certificate", help="Tell in time when it ends; may be repeated."),
    ] = None,
    mlflow: Annotated[
        str, typer.Option(help="Log finished runs here too: an MLflow server, or a folder.")
    ] = "",
) -> None:
    """Serve the pages until stopped; without --connection and --simulate it starts no runs.

    The first time it tells a link with which the first admin sets a password.

    Example: fedpatchcore control serve runs --connection my-server
    """
    from fedpatchcore.control.gates import GateSettings
    from fedpatchcore.control.room import Room
    from fedpatchcore.control.serving import serve
    from fedpatchcore.control.starting import Nowhere, Simulation, SuperLink
    from fedpatchcore.deploy.network import Address

    if (certificate is None) != (key is None):
        raise ConfigError("--certfile and --keyfile belong together")
    for file in filter(None, (certificate, key)):
        if not file.is_file():
            raise ConfigError(f"{file} does not exist")
    if connection is not None and simulate:
        raise ConfigError("--connection and --simulate are two places: leave one out")
    where, place = Address.parse(listen), _place(state)
    told = {"auroc-loss": auroc_loss, "found-loss": found_loss, "stopped-gain": stopped_gain}
    told["planted-loss"] = planted_loss
    limits = GateSettings.parse(told, where="gates")
    program = os.environ.get("FEDPATCHCORE_FLWR")
    flower = Nowhere()
    if connection is not None:
        flower = SuperLink(connection, Path(program) if program else None)
    elif simulate:
        flower = Simulation(simulate, place / "logs")
    if not runs.expanduser().is_dir():
        warn(f"{runs} does not exist: no run is shown until there is such a folder")
    room = Room.open(
        runs,
        place,
        database=database,
        flower=flower,
        limits=limits,
        tls=certificate is not None,
        certificates=tuple(dict.fromkeys([*filter(None, (certificate,)), *(watched or ())])),
        mlflow=mlflow,
        say=_say,
    )
    serve(room, where, names=tuple(name or ()), certificate=certificate, key=key, say=_say)


@control.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder of its runs and its data base.")] = Path(
        "control-demo"
    ),
    listen: Annotated[str, typer.Option(help="Address:port of the pages.")] = "127.0.0.1:8090",
) -> None:
    """A room with something in it: five plants, three runs, banks, an alarm; then click through it.

    Takes some minutes, and can be watched meanwhile. Needs no download and no data.

    Example: fedpatchcore control demo
    """
    from threading import Thread

    from fedpatchcore.control.demo import story
    from fedpatchcore.control.room import Room
    from fedpatchcore.control.serving import serve
    from fedpatchcore.control.starting import Simulation
    from fedpatchcore.deploy.network import Address
    from fedpatchcore.site.virtual import sample_folder
    from fedpatchcore.web.serving import AT_HOME

    where, place = Address.parse(listen), out.expanduser().absolute()
    if where.host not in AT_HOME:
        raise ConfigError("the demo is for this machine alone: --listen 127.0.0.1:8090")
    console.print("writing the synthetic images of five plants (first time only)")
    sample = sample_folder(5)
    state = place / "state"
    room = Room.open(place / "runs", state, flower=Simulation(5, state / "logs"), say=_say)

    def tell() -> None:
        try:
            story(room, f"http://{where.host}:{where.port}", sample, _say)
        except Exception as error:  # the page stays
            _say(f"! the demo ends here: {error}")

    Thread(target=tell, daemon=True).start()
    serve(room, where, say=_say)


@control.command("link")
def link(
    name: Annotated[str, typer.Argument(help="The person's name; one that exists: new password.")],
    role: Annotated[str, typer.Option(help="site, viewer, operator, releaser or admin.")] = "admin",
    site: Annotated[str, typer.Option(help="The site, for the role 'site'.")] = "",
    state: State = None,
    database: DatabaseUrl = "",
) -> None:
    """Make a one-time link on this machine: for whoever is locked out.

    Example: fedpatchcore control link "Anna Bloem" --role releaser
    """
    from fedpatchcore.control.room import CONSOLE

    room = _open(state, database)
    secret = room.people.invite(CONSOLE, name, role, site)
    room.close()
    console.print(f"within a day, once: /join/{secret} at the control room's address")


@control.command("key")
def key(state: State = None, database: DatabaseUrl = "") -> None:
    """The public key that releases are signed with: tell it to each site once."""
    room = _open(state, database)
    console.print(room.signer.public)
    room.close()


@control.command("verify")
def verify(
    export: Annotated[
        Path | None, typer.Argument(help="An exported trail; without it, the data base's.")
    ] = None,
    head: Annotated[
        str, typer.Option(help="NUMBER:DIGEST of an earlier look, kept elsewhere.")
    ] = "",
    state: State = None,
    database: DatabaseUrl = "",
) -> None:
    """Look at every record of the trail: none was edited, removed or moved.

    Example: fedpatchcore control verify --head 42:9f86d081884c7d65…
    """
    from fedpatchcore.web.audit import verified

    if export is not None:
        try:
            with export.open(errors="replace") as lines:
                found = verified(lines, [head] if head else [])
        except OSError as error:
            raise ControlError(f"cannot read {export}: {error.strerror}") from None
    else:
        room = _open(state, database)
        found = room.trail.verify(head)
        room.close()
    console.print(f"every record is as it was written; head {found}")


def _place(state: Path | None) -> Path:
    return (state or cache_home() / "control").expanduser().absolute()


def _open(state: Path | None, database: str) -> Room:
    """A room that is there already."""
    from fedpatchcore.control.room import Room

    place = _place(state)
    if not (place / ("signing.key" if database else "control.db")).is_file():
        raise ControlError(f"there is no control room in {place}: give its --state")
    return Room.open(place, place, database=database)


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
