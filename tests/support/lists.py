"""The lists of settings in the tree's pages, as they have to be.

python -m tests.support.lists      writes them anew (make settings)
"""

from __future__ import annotations

import re
from pathlib import Path

from fedpatchcore.cli.settings import as_markdown, as_toml
from fedpatchcore.config import SHEETS
from fedpatchcore.settings import describe
from tests.support.places import ROOT

__all__ = ["lists"]

TABLE = r"^\[tool\.flwr\.app\.config\]\n(?:[^\[].*\n|\n)+(?=\n\[tool)"
LIST = r"^\| room \| settings \|\n(?:\|.*\n)+"


def lists() -> dict[Path, str]:
    """Each file that lists settings, with the text it should have."""
    project, readme = ROOT / "pyproject.toml", ROOT / "README.md"
    rows = (
        f"| {sheet.title} | {', '.join(f'`{one.key}`' for one in describe(sheet))} |"
        for sheet in SHEETS
    )
    table = "| room | settings |\n|---|---|\n" + "\n".join(rows) + "\n"
    return {
        project: _replaced(
            project, r"^\[tool\.flwr\.app\.config\]\n(?:[^\[].*\n|\n)+(?=\n\[tool)", as_toml()
        ),
        readme: _replaced(readme, r"^\| room \| settings \|\n(?:\|.*\n)+", table),
        ROOT / "docs" / "settings.md": as_markdown(),
    }


def _replaced(file: Path, pattern: str, new: str) -> str:
    text, found = re.subn(pattern, lambda _: new, file.read_text(), flags=re.MULTILINE)
    assert found == 1, file
    return text


if __name__ == "__main__":
    for file, text in lists().items():
        if file.read_text() != text:
            file.write_text(text)
            print(f"{file.relative_to(ROOT)} written anew")
