"""``fedpatchcore doctor``: is this machine ready, and if not, what fixes it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fedpatchcore.cli.common import Overrides, console, to_config
from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, Checks
from fedpatchcore.deploy.doctor.server import ServerDoctor
from fedpatchcore.deploy.doctor.site import SiteDoctor
from fedpatchcore.deploy.doctor.worker_side import WorkerDoctor
from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError

__all__ = ["doctor", "node_config"]

doctor = typer.Typer(
    no_args_is_help=True,
    help="Look at all that a site or the server needs, and say what fixes it. Exit code 0: "
    "ready (perhaps with warnings); 1: something fails; 2: the command was misused.",
)

PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")
SIGNS = {
    "ok": "[green]✓[/]",
    "warn": "[yellow]![/]",
    "fail": "[bold red]✗[/]",
    "skipped": "[dim]–[/]",
}
AsJson = Annotated[bool, typer.Option("--json", help="Print the checks as one JSON list.")]


@doctor.command("site")
def site(
    superlink: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="What flower-supernode gets as --superlink."),
    ] = None,
    root_certificates: Annotated[
        Path | None, typer.Option(help="The federation's ca.crt, as flower-supernode gets it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="node.key: flower-supernode's --auth-supernode-private-key.")
    ] = None,
    node: Annotated[
        str, typer.Option("--node-config", help="The text that flower-supernode gets.")
    ] = "",
    images: Annotated[
        Path | None,
        typer.Option(readable=False, help="With a worker: folder that this user must not read."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """At a site: software, GPU, images, folders, weights, the way to the server, the node key.

    With worker='SOCKET' in place of data it looks from the node's side: does the worker answer,
    is it another user, and can this user read --images. Run it as the node's user.

    Nothing is changed and a running SuperNode is not disturbed. FEDPATCHCORE_* variables count
    as they do in a run.

    Example: fedpatchcore doctor site --superlink fed.example.com:8443 --root-certificates ca.crt
    --key node.key --node-config "site='plant-a' data='/data'"
    """
    one = SiteDoctor(
        to_config(overrides),
        NodeConfig.from_node(node_config(node)),
        superlink=Address.parse(superlink) if superlink else None,
        root_certificates=root_certificates,
        key=key,
        images=images,
    )
    _report(one, as_json)


@doctor.command("worker")
def worker(
    file: Annotated[Path, typer.Argument(help="The worker's file.")] = Path("worker.toml"),
    state: Annotated[
        Path | None, typer.Option(help="The worker's --state; default: $FEDPATCHCORE_HOME.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """At a site, from the worker's side: its file, images, folders, weights, and who reads them.

    As root it tries what the worker's user and the node's users may do; as the worker's user it
    reads that off the permissions.

    Example: fedpatchcore doctor worker /etc/fedpatchcore/worker.toml
    --state /var/lib/fedpatchcore-worker
    """
    if state is not None:
        os.environ["FEDPATCHCORE_HOME"] = str(state.expanduser().absolute())
    _report(WorkerDoctor(to_config(overrides), file), as_json)


@doctor.command("server")
def server(
    certificates: Annotated[
        Path | None, typer.Option(help="Folder with server.crt, server.key and ca.crt.")
    ] = None,
    superlink: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Private address of the SuperLink.")
    ] = "127.0.0.1:8000",
    public: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of the proxy that sites connect to."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the SuperLink's --database.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Folder of the runs' results; default: the run's setting.")
    ] = None,
    connection: Annotated[
        str | None,
        typer.Option(help="Flower connection to the SuperLink ([superlink.NAME] in config.toml)."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """At the server: software, certificate, the private and the public port, folders, nodes.

    Example: fedpatchcore doctor server --certificates pki/server --public fed.example.com:8443
    --state /var/lib/flower --connection my-server
    """
    config = to_config(overrides)
    one = ServerDoctor(
        config,
        certificates=certificates,
        superlink=Address.parse(superlink),
        public=Address.parse(public) if public else None,
        state=state,
        out=out_dir or Path(config.out_dir),
        connection=connection,
    )
    _report(one, as_json)


def node_config(text: str) -> dict[str, Any]:
    """What ``flower-supernode --node-config`` makes of a text: ``key='value'`` pairs or a file.

    Raises ConfigError if it makes nothing of it.
    """
    try:
        if text.strip().endswith(".toml"):
            return tomllib.loads(Path(text.strip()).expanduser().read_text())
        if PAIR.sub("", text).strip():
            raise ConfigError(f"node-config {text!r}: write key='value' pairs between spaces")
        return tomllib.loads("\n".join(f"{key} = {value}" for key, value in PAIR.findall(text)))
    except OSError as error:
        raise ConfigError(f"node-config {text}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"node-config {text!r} is not understood ({error}): text values need quotes, as in "
            "\"site='plant-a' data='/data'\""
        ) from None


def _report(one: SiteDoctor | ServerDoctor | WorkerDoctor, as_json: bool) -> None:
    checks = Checks(lambda check: None if as_json else _show(check))
    one.run(checks)
    if as_json:
        print(json.dumps([check.table() for check in checks.results], indent=2))
    else:
        _sum_up(checks)
    raise typer.Exit(1 if checks.failed else 0)


def _show(check: Check) -> None:
    line = f"{SIGNS[check.state]} {check.name:<14} {escape(check.told)}"
    console.print(line, soft_wrap=True)
    if check.fix and check.state in ("warn", "fail"):
        console.print(f"    → {escape(check.fix)}", soft_wrap=True)


def _sum_up(checks: Checks) -> None:
    words = {"fail": "failed", "warn": "to look at", "skipped": "not checked"}
    counts = {state: sum(c.state == state for c in checks.results) for state in words}
    told = ", ".join(f"{counts[state]} {word}" for state, word in words.items() if counts[state])
    console.print(f"{len(checks.results)} checks: {told or 'all well'}")
