"""The command's entry: sub-commands, ``--debug``, one-line errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from fedpatchcore import __version__
from fedpatchcore.cli import (
    banks,
    deploy,
    detect,
    doctor,
    federated,
    images,
    observe,
    runs,
    serving,
)
from fedpatchcore.cli.common import console, errors
from fedpatchcore.errors import FedPatchCoreError

__all__ = ["main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Federated PatchCore: many inspection sites share one notion of normal, "
    "and no image leaves any site. Start with: fedpatchcore demo",
)
app.command("demo")(federated.demo)
app.command("simulate")(federated.simulate)
app.command("rehearse")(federated.rehearse)
app.command("run")(runs.run)
app.command("status")(runs.status)
app.command("stop")(runs.stop)
app.command("fit")(detect.fit)
app.command("predict")(detect.predict)
app.command("evaluate")(detect.evaluate)
app.add_typer(banks.bank, name="bank")
app.add_typer(banks.weights, name="weights")
app.command("sample")(images.sample)
app.command("partition")(images.partition)
app.command("report")(federated.report)
app.command("exporter")(observe.exporter)
app.add_typer(deploy.certs, name="certs")
app.command("proxy")(deploy.proxy)
app.add_typer(doctor.doctor, name="doctor")
app.command("serve")(serving.serve)
app.command("node")(serving.node)


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full trace when something fails.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options that come before the command."""
    if version:
        console.print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; expected errors are one line and exit code 2."""
    try:
        app()
    except FedPatchCoreError as error:
        if "--debug" in sys.argv:
            raise
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
