"""The settings there are, by room, for people and for the files that list them."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console
from fedpatchcore.config import SHEETS, SITE_SHEETS
from fedpatchcore.errors import ConfigError
from fedpatchcore.settings import Setting, Settings, describe
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.worker.settings import WorkerConfig

__all__ = ["as_markdown", "as_toml", "show_settings"]

ALL = (*SHEETS, *SITE_SHEETS, WorkerConfig, StationSettings)
COMMENT = 36  # column at which the explanations of a TOML table begin
WIDTH = 100


def show_settings(
    key: Annotated[str, typer.Argument(help="One setting; without it, all by room.")] = "",
    toml: Annotated[
        bool, typer.Option("--toml", help="As the run-config table of pyproject.toml.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/settings.md.")] = False,
) -> None:
    """All settings with default, range and meaning, or one of them.

    Give them as -c KEY=VALUE, or to Flower as --run-config "KEY=VALUE".

    Example: fedpatchcore settings coreset-ratio
    """
    if toml or markdown:
        print((as_toml() if toml else as_markdown()).rstrip())
    elif key:
        _one(key)
    else:
        for sheet in ALL:
            console.print(_table(sheet))


def _one(key: str) -> None:
    found = [(s, one) for s in ALL for one in describe(s) if one.key == key]
    if not found:
        known = [one.key for sheet in ALL for one in describe(sheet)]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        raise ConfigError(
            f"there is no setting {key!r}"
            + (f" (did you mean '{near[0]}'?)" if near else "")
            + ": fedpatchcore settings lists them"
        )
    for sheet, one in found:
        console.print(f"[bold]{one.key}[/] = {escape(one.default)}")
        console.print(f"  {escape(one.help)}")
        if one.range:
            console.print(f"  range: {escape(one.range)}")
        console.print(f"  [dim]{escape(sheet.title)}[/]")


def _table(sheet: type[Settings]) -> Table:
    table = Table(title=escape(sheet.title), title_justify="left", title_style="bold", expand=True)
    table.add_column("setting", no_wrap=True, ratio=2)
    table.add_column("default", ratio=2, overflow="fold")
    table.add_column("range", ratio=2)
    table.add_column("meaning", ratio=5)
    for one in describe(sheet):
        table.add_row(one.key, *map(escape, (one.default, one.range, one.help)))
    return table


def as_toml() -> str:
    """The table ``[tool.flwr.app.config]`` with every default and what it means."""
    blocks = []
    for sheet in SHEETS:
        lines = [f"# {sheet.title}"]
        for one in describe(sheet):
            lines += _explained(one)
        blocks.append("\n".join(lines))
    return "[tool.flwr.app.config]\n" + "\n\n".join(blocks) + "\n"


def _explained(one: Setting) -> list[str]:
    """``key = default  # meaning``, continued below where the line is full."""
    start = f"{one.key} = {one.default}"
    lines, room = [], WIDTH - COMMENT - 2
    text = ""
    for word in one.help.split():
        if text and len(text) + 1 + len(word) > room:
            lines.append(text)
            text = word
        else:
            text = f"{text} {word}".lstrip()
    lines.append(text)
    first = f"{start:<{COMMENT - 1}} # {lines[0]}"
    return [first, *(f"{'':<{COMMENT}}# {line}" for line in lines[1:])]


def as_markdown() -> str:
    """All settings as the tables of docs/settings.md."""
    parts = [
        "# Settings\n\nWritten by `fedpatchcore settings --markdown`. Give them as `-c key=value`, "
        'or to Flower\nas `--run-config "key=value"`; those of one site as `--node-config` '
        "or in its worker's file."
    ]
    for sheet in ALL:
        rows = [
            f"| `{one.key}` | `{one.default}` | {one.range.replace('|', '/')} | {one.help} |"
            for one in describe(sheet)
        ]
        head = "| setting | default | range | meaning |\n|---|---|---|---|"
        parts.append("\n".join([f"## {sheet.title}", "", head, *rows]))
    return "\n\n".join(parts) + "\n"
