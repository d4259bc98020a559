"""What all commands share: settings from the command line, a console, tables."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError

__all__ = [
    "BankFile",
    "Overrides",
    "console",
    "errors",
    "finite",
    "number",
    "progress",
    "settings",
    "to_config",
]


class _Piped(Console):
    """A pipe or a log has no width: tables get 120 columns, lines of text stay whole.

    Whoever reads a path or an address out of a line finds it there however long it is.
    """

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap is None and all(isinstance(one, str) for one in objects):
            soft_wrap = True
        super().print(*objects, soft_wrap=soft_wrap, **options)


console = Console(highlight=False)
errors = Console(highlight=False, stderr=True)
if not console.is_terminal:
    console = _Piped(highlight=False, width=120)

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-c",
        metavar="KEY=VALUE",
        help="Any run-config key, e.g. -c backbone=filterbank -c geometry=full; may be repeated. "
        "'fedpatchcore settings' lists them all.",
    ),
]
BankFile = Annotated[
    Path, typer.Argument(help="Bank file (.safetensors), for example runs/<run>/bank.safetensors.")
]


def finite(value: float | None) -> float | None:
    """Callback of options that are numbers: infinite and NaN would decide nothing, or anything."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"a finite number is needed, got {value}")
    return value


def settings(pairs: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a table; values are TOML, bare words are text."""
    table: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"'{pair}' is no setting: write KEY=VALUE")
        try:
            read = tomllib.loads(f"v = {text}")
        except tomllib.TOMLDecodeError:
            read = {}
        alone = len(read) == 1 and len(text.splitlines()) == 1  # and no further keys below it
        table[key.strip()] = read["v"] if alone else text.strip()
    return table


def to_config(pairs: list[str] | None, **defaults: Any) -> RunConfig:
    """Run-config from ``--set`` over the command's own defaults (snake_case)."""
    table = {key.replace("_", "-"): value for key, value in defaults.items()}
    return RunConfig.parse({**table, **settings(pairs)}, where="settings")


def number(value: float | None, digits: int = 3) -> str:
    """A figure for a table; a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def progress() -> Progress:
    """A bar that shows what is done, out of how much, and for how long."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
