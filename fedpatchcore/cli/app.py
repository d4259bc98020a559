"""The command's entry: sub-commands, ``--debug``, one-line errors."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import click
import typer
from rich.markup import escape

from fedpatchcore.cli.common import console, errors
from fedpatchcore.cli.spelling import Command
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.version import VERSION

__all__ = ["COMMANDS", "build", "main"]

# Command → module of `fedpatchcore.cli` and the function or sub-commands in it. These modules are
# quick to import, so that help and completion are: what computes is loaded by the command itself.
COMMANDS = {
    "demo": ("federated", "demo"),
    "simulate": ("federated", "simulate"),
    "rehearse": ("federated", "rehearse"),
    "report": ("reports", "report"),
    "run": ("runs", "run"),
    "status": ("runs", "status"),
    "stop": ("runs", "stop"),
    "node": ("serving", "node"),
    "worker": ("worker", "worker"),
    "station": ("station", "station"),
    "serve": ("serving", "serve"),
    "control": ("control", "control"),
    "doctor": ("doctor", "doctor"),
    "certs": ("deploy", "certs"),
    "proxy": ("deploy", "proxy"),
    "exporter": ("observe", "exporter"),
    "fit": ("fit", "fit"),
    "tune": ("tune", "tune"),
    "predict": ("predict", "predict"),
    "evaluate": ("evaluate", "evaluate"),
    "bank": ("banks", "bank"),
    "weights": ("banks", "weights"),
    "audit": ("audit", "audit"),
    "data": ("data", "data"),
    "sample": ("images", "sample"),
    "partition": ("images", "partition"),
    "settings": ("settings", "show_settings"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """The command line; with the words given to it, only the command they name is loaded."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Federated PatchCore: many inspection sites share one notion of normal, "
        "and no image leaves any site. Start with: fedpatchcore demo",
    )
    app.suggest_commands = not hasattr(click, "NoSuchCommand")  # else click itself suggests
    app.callback(invoke_without_command=True)(options)
    named = next((word for word in words if not word.startswith("-")), "")
    for name in [named] if named in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        found = getattr(importlib.import_module(f"fedpatchcore.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            for one in found.registered_commands:
                one.cls = Command
            app.add_typer(found, name=name)
        else:
            app.command(name, cls=Command)(found)
    return app


HELPS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there, and start again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "let this user read and write it"),
    errno.EROFS: "name a folder that can be written",
    errno.EMFILE: "let this process open more files: ulimit -n",
}


def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full trace when something fails.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options that come before the command."""
    if version:
        console.print(VERSION)
        raise typer.Exit


def main() -> None:
    """Run the command line; expected errors are one line and exit code 2.

    A full disk, a folder that may not be written, a file that is gone can be met by whatever a
    command does; where nothing tells it better, it is told with the file and what helps.
    """
    try:
        build(sys.argv[1:])()
    except BrokenPipeError:
        raise
    except (FedPatchCoreError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        told = _of_system(error) if isinstance(error, OSError) else str(error)
        errors.print(f"[bold red]error:[/] {escape(told)}", soft_wrap=True)
        sys.exit(2)


def _of_system(error: OSError) -> str:
    """What the system refused, on which file, and what helps."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    helps = HELPS.get(error.errno or 0, "--debug shows where")
    return f"{' '.join(what.split())} ({helps})"
