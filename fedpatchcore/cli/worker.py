"""Commands of a site's worker: write its file, run it, ask how it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedpatchcore.cli.common import console, write_own_file
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
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.units import SiteUnits
from fedpatchcore.errors import ConfigError
from fedpatchcore.service.link import Link
from fedpatchcore.worker.settings import WorkerConfig, read_worker_config, worker_file

__all__ = ["worker"]

worker = typer.Typer(
    no_args_is_help=True,
    help="At a site: the process that owns the images and has no network. The node passes on "
    "what the server asks; what the site allows stands in the worker's own file.",
)

File = Annotated[Path, typer.Argument(help="The worker's file.")]
Data = Annotated[str, typer.Option(help="Folder of its images.")]


@worker.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("worker.toml"),
    site: SiteName = "",
    data: Data = "",
    user: Annotated[
        list[str] | None, typer.Option("--user", help="User of the node; may be repeated.")
    ] = None,
    socket: Annotated[str, typer.Option(help="Where the worker listens.")] = "",
    weights: SiteWeights = "",
    ledger: Ledger = "",
    dp_required: DpRequired = False,
    dp_budget_epsilon: DpBudget = 0.0,
    roster: Roster = "",
    sums_key: SumsKey = "",
    hours: Hours = "",
    weekdays: Weekdays = "",
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Write the worker's file, with every key and what it means.

    Example: fedpatchcore worker init worker.toml --site plant-a --data /data/images --user fpc-node
    """
    if not site or not data:
        raise ConfigError("say who this is and where its images are: --site NAME --data FOLDER")
    given = {"site": site, "weights": _weights(weights), "users": ",".join(user or ())}
    given |= {"dp-required": dp_required, "dp-budget-epsilon": dp_budget_epsilon}
    given |= {"hours": hours, "weekdays": weekdays}
    places = {"data": data, "socket": socket, "ledger": ledger}
    places |= {"roster": roster, "sums-key": sums_key}
    given |= {key: str(Path(path).expanduser().absolute()) for key, path in places.items() if path}
    given = {key: value for key, value in given.items() if value}
    told = WorkerConfig.parse(given, where="worker init")
    told.user_ids()
    where = told.socket_path()
    write_own_file(file, worker_file(given, file), force=force)
    console.print(f"{file}: what this site allows; read it before you start the worker")
    console.print(f"start it:   fedpatchcore worker run {file}", soft_wrap=True)
    console.print(f"its node:   fedpatchcore node --worker {where} ...", soft_wrap=True)


@worker.command("run")
def run(
    file: File = Path("worker.toml"),
    state: Annotated[
        Path | None, typer.Option(help="Folder for caches; default: $FEDPATCHCORE_HOME.")
    ] = None,
) -> None:
    """Serve the site's node until it is told to end.

    Example: fedpatchcore worker run /etc/fedpatchcore/worker.toml
    """
    if state is not None:
        os.environ["FEDPATCHCORE_HOME"] = str(state.expanduser().absolute())
    config = read_worker_config(file)
    from fedpatchcore.worker.running import run_worker

    run_worker(config)


@worker.command("units")
def units(
    superlink: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's public address.")
    ],
    root_certificates: Annotated[Path, typer.Option(help="The federation's ca.crt.")],
    key: Annotated[Path, typer.Option(help="This site's node.key; it is copied.")],
    site: SiteName,
    data: Data,
    weights: SiteWeights = "",
    dp_required: DpRequired = False,
    dp_budget_epsilon: DpBudget = 0.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="Let the worker use the GPUs.")] = False,
    memory_max: Annotated[
        str, typer.Option(metavar="8G", help="Memory that the worker may take.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("fedpatchcore-units"),
    install: Annotated[
        bool, typer.Option("--install", help="Install them as well, as root.")
    ] = False,
) -> None:
    """A site on bare metal: two users, and two systemd services that keep them apart.

    The worker's user reads the images and has no network; the node's user has the network and
    reads no image. Writes the services, the worker's file and the script that installs them;
    with --install runs that script, which makes the users, copies the key and enables both
    services. Nothing is started, and no permission of an image is changed: the lines that do so
    are told.

    Example: fedpatchcore worker units --site plant-a --data /data/images
    --superlink fed.example.com:8443 --root-certificates ca.crt --key node.key
    """
    given = {"weights": _weights(weights)}
    given |= {"dp-required": dp_required, "dp-budget-epsilon": dp_budget_epsilon}
    made = SiteUnits(
        site,
        Path(data),
        Address.parse(superlink),
        root_certificates,
        key,
        words={name: value for name, value in given.items() if value},
        gpu=gpu,
        memory_max=memory_max,
    )
    made.write(out)
    if install:
        made.install(out)
        console.print(f"{out}/install.sh made two users and enabled two services; what is left:")
    else:
        for why in filter(None, (made.closed(), made.stays())):
            console.print(f"[yellow]![/] {escape(why)}")
        console.print(f"{out}: two services, the worker's file, and the script that installs them")
        console.print(f"# install, as root\nsh {escape(str(out.absolute()))}/install.sh")
    for purpose, command in made.remains().items():
        console.print(f"# {escape(purpose)}\n{escape(command)}", soft_wrap=True)


def _weights(given: str) -> str:
    """A file's whole path; other words are a name of weights."""
    file = Path(given).expanduser()
    return str(file.resolve()) if given and file.is_file() else given


@worker.command("health")
def health(
    socket: Annotated[Path, typer.Argument(help="The worker's socket.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Ask a worker how it is; exit code 2 if it does not answer.

    Example: fedpatchcore worker health /run/fedpatchcore/worker.sock
    """
    told = Link(socket).health()
    if as_json:
        print(json.dumps(told))
        return
    doing = f"{told['verb']} {told['phase']} {told['seconds']:g} s".replace("  ", " ")
    console.print(
        f"site {escape(str(told['site']))}, FedPatchCore {told['version']}, process "
        f"{told['process']}: {told['state']}"
        + (f" ({doing})" if told["verb"] else "")
        + f", {told['waiting']} of {told['queue']} waiting, {told['handled']} answered, "
        f"{told['warm-mb']:g} MB warm"
    )
