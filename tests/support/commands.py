"""The command line as a tree: what each command takes."""

from __future__ import annotations

from collections.abc import Iterator

import click

__all__ = ["parameters"]


def parameters(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Parameter]]:
    """Every argument and option of the command line."""
    for parameter in command.params:
        yield f"{path} {parameter.name}".strip(), parameter
    for name, below in getattr(command, "commands", {}).items():
        yield from parameters(below, f"{path} {name}")
