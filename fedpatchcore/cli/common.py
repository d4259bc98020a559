"""What all commands share: settings from the command line, a console, tables."""

from __future__ import annotations

import errno
import math
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.engines.registry import ENGINES, TORCH

__all__ = [
    "BankFile",
    "Device",
    "Engine",
    "Overrides",
    "Weights",
    "console",
    "errors",
    "finite",
    "number",
    "progress",
    "resumed_folder",
    "settings",
    "take_place",
    "to_config",
    "told_once",
    "warn",
    "write_own_file",
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
        help="Any run-config key, e.g. -c backbone=filterbank -c geometry=full, or a TOML file of "
        "keys, -c tuned/tuned.toml; may be repeated, the last word holds. 'fedpatchcore settings' "
        "lists them all.",
    ),
]
BankFile = Annotated[
    Path, typer.Argument(help="Bank file (.safetensors), for example runs/<run>/bank.safetensors.")
]

Weights = Annotated[str, typer.Option(help="Weights file, if it is not found by itself.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 (or another number), all.")]


def _engine(name: str) -> str:
    """Callback of `Engine`."""
    if name and name not in (TORCH, *ENGINES):
        raise typer.BadParameter(f"there are {', '.join((TORCH, *ENGINES))}, got '{name}'")
    return name


Engine = Annotated[
    str,
    typer.Option(
        callback=_engine,
        help=f"What runs the network on a processor: {', '.join((TORCH, *ENGINES))} (extras). In "
        "float32 all give the same features; empty: as the bank was made.",
    ),
]


def finite(value: float | None) -> float | None:
    """Callback of options that are numbers: infinite and NaN would decide nothing, or anything."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"a finite number is needed, got {value}")
    return value


def settings(pairs: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a table; values are TOML, bare words are text.

    So is a number where a text belongs: ``run-name=2026`` is a name. A word without "=" that ends
    in ``.toml`` is a file of settings.
    """
    table: dict[str, Any] = {}
    texts = {key for key, value in RunConfig().table().items() if isinstance(value, str)}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals and pair.endswith(".toml"):
            table |= _file_of_settings(Path(pair).expanduser())
            continue
        if not equals:
            raise ConfigError(f"'{pair}' is no setting: write KEY=VALUE, or name a .toml file")
        try:
            read = tomllib.loads(f"v = {text}")
        except tomllib.TOMLDecodeError:
            read = {}
        alone = len(read) == 1 and len(text.splitlines()) == 1  # and no further keys below it
        value = read["v"] if alone else text.strip()
        if key.strip() in texts and not isinstance(value, str):
            value = text.strip()
        table[key.strip()] = value
    return table


def _file_of_settings(file: Path) -> dict[str, Any]:
    """A flat TOML table, as ``fedpatchcore tune`` writes it. Raises ConfigError."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read settings {file}: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigError(f"{file} is no TOML: {error}") from None
    if nested := [key for key, value in table.items() if isinstance(value, dict | list)]:
        raise ConfigError(f"{file}: '{nested[0]}' is no setting: write key = value lines alone")
    return table


def told_once(config: dict[str, Any], key: str, option: str, given: Any) -> Any:
    """What an option says, or ``-c KEY=…`` where the option was not given; None if neither.

    Raises:
        ConfigError: both say it: the one that lost would have been typed for nothing.
    """
    if given is not None and config.get(key) not in (None, ""):
        raise ConfigError(f"{option} and -c {key}={config[key]} are told both: leave one out")
    return config.get(key) or None if given is None else given


def resumed_folder(config: Mapping[str, Any]) -> Path | None:
    """The folder that ``resume`` goes on in, None without it.

    Raises:
        ConfigError: another one is asked for beside it.
    """
    if not (resume := config.get("resume")):
        return None
    run = Path(resume).expanduser().absolute()
    name, out = config.get("run-name"), config.get("out-dir")
    for key, other in (
        ("run-name", name and name != run.name),
        ("out-dir", out and Path(out).expanduser().absolute() != run.parent),
    ):
        if other:
            raise ConfigError(
                f"the run that goes on stays in {resume}: leave -c {key}={config[key]} out"
            )
    return run


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


def warn(line: str, before: str = "") -> None:
    """A warning on standard error; nothing of an empty line."""
    if line:
        errors.print(f"[yellow]warning:[/] {escape(before + line)}", soft_wrap=True)


def write_own_file(file: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner reads. Raises ConfigError: it is there, or cannot be."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
        file.chmod(0o600)
    except FileExistsError:
        raise ConfigError(
            f"{file} is there already: change it, or write it anew with --force"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None


def take_place(file: Path, what: str) -> None:
    """Before long work: its folder is made. Raises ConfigError where ``file`` can't be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file")
        tempfile.TemporaryFile(dir=file.parent).close()
    except OSError as error:
        raise ConfigError(f"cannot write {what} {file}: {error.strerror}") from None
