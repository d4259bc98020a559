"""Commands of a site's worker: write its file, run it, ask how it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedpatchcore.cli.common import console, finite
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


@worker.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("worker.toml"),
    site: Annotated[str, typer.Option(help="This site's name.")] = "",
    data: Annotated[str, typer.Option(help="Folder of its images.")] = "",
    user: Annotated[
        list[str] | None, typer.Option("--user", help="User of the node; may be repeated.")
    ] = None,
    socket: Annotated[str, typer.Option(help="Where the worker listens.")] = "",
    weights: Annotated[str, typer.Option(help="Weights file at this site.")] = "",
    ledger: Annotated[str, typer.Option(help="Folder of the privacy ledger.")] = "",
    dp_required: Annotated[
        bool, typer.Option("--dp-required", help="Refuse runs without differential privacy.")
    ] = False,
    dp_budget_epsilon: Annotated[
        float,
        typer.Option(callback=finite, help="The site's own cap on ε per image; 0 = the run's."),
    ] = 0.0,
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
    given = {key: value for key, value in given.items() if value}
    told = WorkerConfig.parse(given, where="worker init")
    told.user_ids()
    where = told.socket_path()
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(worker_file(given, file))
        file.chmod(0o600)
    except FileExistsError:
        raise ConfigError(
            f"{file} is there already: change it, or write it anew with --force"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
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
