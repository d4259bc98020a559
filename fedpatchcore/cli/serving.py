"""Commands that stay: the server's programs, a site's node."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedpatchcore.cli.common import Overrides, console, to_config
from fedpatchcore.cli.site_words import (
    DpBudget,
    DpRequired,
    Hours,
    Ledger,
    Roster,
    SiteName,
    SiteWeights,
    SumsKey,
    Weekdays,
)
from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.beside import control_program, pulling_program
from fedpatchcore.deploy.doctor.site import SiteDoctor
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.node import node_programs, refuse_unusable
from fedpatchcore.deploy.own_worker import ONE_USER, own_worker
from fedpatchcore.deploy.serve import server_programs
from fedpatchcore.deploy.supervise import Supervisor
from fedpatchcore.errors import ConfigError
from fedpatchcore.places import cache_home

__all__ = ["node", "serve"]

State = Annotated[
    Path | None,
    typer.Option(help="Folder for caches and Flower's files; default: $FEDPATCHCORE_HOME."),
]


def say(line: str) -> None:
    """A line of our own among those of the programs."""
    console.print(f"[dim]{datetime.now():%H:%M:%S}[/] {escape(line)}", soft_wrap=True)
    sys.stdout.flush()


def serve(
    certificates: Annotated[
        Path, typer.Argument(help="Folder 'server' that 'fedpatchcore certs init' made.")
    ],
    listen: Annotated[str, typer.Option(help="Address:port that sites reach.")] = "0.0.0.0:8443",
    superlink: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Private address of the SuperLink.")
    ] = "127.0.0.1:8000",
    state: State = None,
    control: Annotated[
        str,
        typer.Option(
            metavar="[HOST:PORT]",
            help="Also a control room at this address; 127.0.0.1:8090 is this machine alone.",
        ),
    ] = "",
    runs: Annotated[
        Path, typer.Option(help="Folder of all runs' folders, for the control room.")
    ] = Path("runs"),
    database: Annotated[
        str, typer.Option(help="The control room's PostgreSQL, postgresql://…; default: a file.")
    ] = "",
) -> None:
    """At the server: keep SuperLink, ServerApp executor and proxy running, until Ctrl-C.

    Sites reach the proxy alone; runs are submitted on this machine, at the private address.
    With --control the control room runs beside them (docs/control.md).
    """
    address, place = Address.parse(superlink), state or cache_home() / "server"
    programs = server_programs(certificates, listen=listen, superlink=address, state=place, say=say)
    if control:
        programs.append(
            control_program(
                certificates,
                listen=Address.parse(control),
                superlink=address,
                state=place,
                runs=runs,
                database=database,
            )
        )
    raise typer.Exit(Supervisor(programs, say=say).run())


def node(
    superlink: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's public address.")
    ],
    root_certificates: Annotated[Path, typer.Option(help="The federation's ca.crt.")],
    key: Annotated[Path, typer.Option(help="This site's node.key.")],
    site: SiteName = "",
    worker: Annotated[
        str, typer.Option(help="Socket of this site's worker, which owns the images.")
    ] = "",
    data: Annotated[
        str, typer.Option(help="Folder of images: a worker of the node's own is started on it.")
    ] = "",
    weights: SiteWeights = "",
    group_by: Annotated[
        str, typer.Option(help="Which images belong together, instead of the run's.")
    ] = "",
    groups: Annotated[str, typer.Option(help="csv of this site's groups: file,group.")] = "",
    exclude: Annotated[
        str, typer.Option(help="csv of training images to leave out: file,reason.")
    ] = "",
    out: Annotated[str, typer.Option(help="Folder for pictures of this site's verdicts.")] = "",
    ledger: Ledger = "",
    dp_required: DpRequired = False,
    dp_budget_epsilon: DpBudget = 0.0,
    roster: Roster = "",
    sums_key: SumsKey = "",
    hours: Hours = "",
    weekdays: Weekdays = "",
    metered: Annotated[
        str, typer.Option(help="Network interfaces that cost: not while the way out is one.")
    ] = "",
    app: Annotated[
        str,
        typer.Option(
            help="Whose code works here: 'installed' = this package's, and a run that submits "
            "another is refused; 'any' = whatever is submitted."
        ),
    ] = "installed",
    state: State = None,
    port: Annotated[int, typer.Option(help="Local port of the node's own API; 0 = any.")] = 0,
    control: Annotated[
        str, typer.Option(help="The control room's address: released banks are fetched from it.")
    ] = "",
    control_key: Annotated[
        Path | None, typer.Option(help="File with this site's key of the control room.")
    ] = None,
    banks: Annotated[Path, typer.Option(help="Folder of the fetched banks.")] = Path("banks"),
    signed_by: Annotated[
        str, typer.Option(help="The control room's public key: nothing else is taken.")
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="End when the node ends or cannot be started.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """At a site: keep its node running, and say plainly what is wrong when it cannot.

    With --worker it carries messages between the server and that worker, and needs no access to
    images. With --data it starts a worker itself: one command, for a first try.

    Looks at images, disk, certificate, clock and key first; what is wrong on this machine ends
    the command, what is wrong on the way to the server is told and tried again.

    Example: fedpatchcore node --superlink fed.example.com:8443 --root-certificates ca.crt
    --key node.key --site plant-a --worker /run/fedpatchcore/worker.sock
    """
    home = (state or cache_home()).expanduser().absolute()
    given = {
        "site": site,
        "worker": worker,
        "data": data,
        "weights": weights,
        "out": out,
        "ledger": ledger,
    }
    given |= {"group-by": group_by, "groups": groups}
    given |= {"exclude": exclude, "dp-required": dp_required}
    given |= {"dp-budget-epsilon": dp_budget_epsilon, "roster": roster, "sums-key": sums_key}
    given |= {"hours": hours, "weekdays": weekdays, "metered": metered}
    told = NodeConfig.from_node({k: v for k, v in given.items() if v})
    if not told.site:
        raise ConfigError("this site has no name: --site NAME or FEDPATCHCORE_SITE")
    os.environ["FEDPATCHCORE_HOME"] = str(home)
    address = Address.parse(superlink)
    doctor = SiteDoctor(
        to_config(overrides), told, superlink=address, root_certificates=root_certificates, key=key
    )
    refuse_unusable(doctor, say)
    programs = []
    if not told.worker:
        say(f"! {ONE_USER}")
        beside, socket = own_worker(told, home)
        programs.append(beside)
        told = NodeConfig(site=told.site, worker=str(socket))
    nodes = node_programs(
        doctor,
        told,
        address,
        root_certificates=root_certificates,
        key=key,
        state=home,
        port=port,
        app=app,
        say=say,
    )
    if control:
        programs.append(
            pulling_program(control, control_key, banks, root_certificates, signed_by=signed_by)
        )
    raise typer.Exit(Supervisor([*programs, *nodes], say=say, once=once).run())
