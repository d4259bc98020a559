"""Commands of a site's worker: write its file, run it, ask how it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedpatchcore.cli.common import console, finite, write_own_file
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
Site = Annotated[str, typer.Option(help="This site's name.")]
Data = Annotated[str, typer.Option(help="Folder of its images.")]
Weights = Annotated[str, typer.Option(help="Weights file at this site.")]
DpRequired = Annotated[
    bool, typer.Option("--dp-required", help="Refuse runs without differential privacy.")
]
DpBudget = Annotated[
    float, typer.Option(callback=finite, help="The site's own cap on ε per image; 0 = the run's.")
]


@worker.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("worker.toml"),
    site: Site = "",
    data: Data = "",
    user: Annotated[
        list[str] | None, typer.Option("--user", help="User of the node; may be repeated.")
    ] = None,
    socket: Annotated[str, typer.Option(help="Where the worker listens.")] = "",
    weights: Weights = "",
    ledger: Annotated[str, typer.Option(help="Folder of the privacy ledger.")] = "",
    dp_required: DpRequired = False,
    dp_budget_epsilon: DpBudget = 0.0,
    roster: Annotated[
        str,
        typer.Option(help="Secure sums: signed list of sites, beside the ca.crt that signed it."),
    ] = "",
    sums_key: Annotated[str, typer.Option(help="Secure sums: this site's own sums.key.")] = "",
    hours: Annotated[str, typer.Option(help="When it takes part: '22:00-06:00'.")] = "",
    weekdays: Annotated[str, typer.Option(help="On which its hours begin: 'mon-fri'.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Write the worker's file, with every key and what it means.

    Example: fedpatchcore worker init worker.toml --site plant-a --data /data/images --user fpc-node
    """
    if not site or not data:
        raise ConfigError("say who this is and where its images are: --site NAME --data FOLDER")
    given = {"site": site, "data": str(Path(data).expanduser().absolute())}
    given |= {"socket": socket, "weights": weights, "ledger": ledger, "users": ",".join(user or ())}
    given |= {"dp-required": dp_required, "dp-budget-epsilon": dp_budget_epsilon}
    given |= {"hours": hours, "weekdays": weekdays}
    for key, path in (("roster", roster), ("sums-key", sums_key)):
        given[key] = str(Path(path).expanduser().absolute()) if path else ""
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
    site: Site,
    data: Data,
    weights: Weights = "",
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
    given = {"weights": weights, "dp-required": dp_required, "dp-budget-epsilon": dp_budget_epsilon}
    if weights and Path(weights).expanduser().is_file():
        given["weights"] = str(Path(weights).expanduser().resolve())
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
        if closed := made.closed():
            console.print(f"[yellow]![/] {escape(closed)}")
        console.print(f"{out}: two services, the worker's file, and the script that installs them")
        console.print(f"# install, as root\nsh {escape(str(out.absolute()))}/install.sh")
    for purpose, command in made.remains().items():
        console.print(f"# {escape(purpose)}\n{escape(command)}", soft_wrap=True)


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
