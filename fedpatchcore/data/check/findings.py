"""What a check gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.texts import counted

__all__ = ["FAULT", "NOTE", "WARNING", "Finding", "images"]

FAULT, WARNING, NOTE = "fault", "warning", "note"
"""What is learnt or measured will be wrong; look at it; for information alone."""


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        check: name of the check.
        kind: `FAULT`, `WARNING` or `NOTE`.
        product: whose images, "" of the folder as a whole.
        text: what was found; of images their number, and no name.
        fix: what mends it, "" of a note.
        paths: the images or folders it is about, the gravest first; pairs stand one after another.
        pairs: whether ``paths`` are pairs.
    """

    check: str
    kind: str
    product: str
    text: str
    fix: str = ""
    paths: Sequence[Path] = ()
    pairs: bool = False

    @property
    def line(self) -> str:
        """All of it in one line."""
        head = f"{self.product}: {self.text}" if self.product else self.text
        few = ", ".join(path.as_posix() for path in self.paths[:2])
        more = f" and {len(self.paths) - 2} more" if len(self.paths) > 2 else ""
        where = f" ({few}{more})" if few else ""
        return f"{head}{where}" + (f"; {self.fix}" if self.fix else "")


def images(count: int) -> str:
    """A number of images in words."""
    return counted(count, "image")
