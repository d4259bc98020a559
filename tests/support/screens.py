"""What a console of so many columns shows."""

from __future__ import annotations

import io

from rich.console import Console

__all__ = ["screen"]


def screen(shown: object, width: int = 140) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(shown)
    return console.export_text()
