"""Commands whose messages spell settings as this very command takes them."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

import click
from typer.core import TyperCommand
from typer.models import ParameterInfo

from fedpatchcore.cli.common import errors
from fedpatchcore.spelling import Spell, in_a_table, spelled

__all__ = ["Command", "spelling"]


class Command(TyperCommand):
    """A command of ours: what its messages tell to type can be typed, every argument explained."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        arguments = [one for one in self.params if isinstance(one, click.Argument)]
        bare = [one for one in arguments if not getattr(one, "help", None)]
        told = _helps(self.callback) if bare and self.callback else {}
        for one in bare:  # click 8.5 empties what typer says of an argument
            one.help = told.get(one.name or "")

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


def _helps(function: Any) -> dict[str, str | None]:
    """What a command's function says of its parameters."""
    function = inspect.unwrap(function)
    return {
        name: told.help
        for name, hint in get_type_hints(function, include_extras=True).items()
        for told in get_args(hint)
        if isinstance(told, ParameterInfo)
    }
