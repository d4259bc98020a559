"""Commands whose messages spell settings as this very command takes them."""

from __future__ import annotations

from typing import Any

import click
from typer.core import TyperCommand

from fedpatchcore.cli.common import errors
from fedpatchcore.spelling import Spell, in_a_table, spelled

__all__ = ["Command", "spelling"]


class Command(TyperCommand):
    """A command of ours: what its messages tell to type can be typed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; whoever stops it by Ctrl-C is told so, and what is kept (code 130)."""
        with spelled(spelling(self)):
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as stopped:
                errors.print(f"stopped{f': {stopped}' if str(stopped) else ''}", markup=False)
                raise


def spelling(command: click.Command) -> Spell:
    """An option of its own before ``-c``; "" for what the command has no word for."""
    flags = {flag for one in command.params for flag in one.opts}

    def spell(key: str, value: str, own: bool) -> str:
        if f"--{key}" in flags:
            return f"--{key} {value}"
        if own:
            table = in_a_table(key, value, own)
            return f'--node-config "{table}"' if "--node-config" in flags else ""
        return f"-c {key}={value}" if "--set" in flags else ""

    return spell
