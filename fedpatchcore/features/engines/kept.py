"""Exported graphs on disk, so that an export is made and checked once a machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.files import private_folder, write_atomically
from fedpatchcore.places import cache_home

__all__ = ["Kept", "home"]

log = logging.getLogger("fedpatchcore")
MOST = 24  # exports; the ones used least lately give way


def home() -> Path:
    """The folder of exports below this machine's caches. Raises OSError if it cannot be made."""
    folder = cache_home() / "engines"
    private_folder(folder)
    return folder


@dataclass(frozen=True)
class Kept:
    """One export: its files, and a note with their checksums and what the check found.

    Attributes:
        stem: path of the files less their suffixes.
    """

    stem: Path
    suffixes: tuple[str, ...]

    @property
    def _note(self) -> Path:
        return self.stem.with_suffix(".json")

    @property
    def files(self) -> list[Path]:
        return [self.stem.with_suffix(one) for one in self.suffixes]

    def apart(self) -> float | None:
        """What the check found; None if there is no whole, checked export."""
        try:
            note = json.loads(self._note.read_text())
            sums, apart = dict(note["sha256"]), float(note["apart"])
            found = {file.suffix: _sha256(file) for file in self.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: removed, will be exported again (%s)", self.stem, error)
            self.drop()
            return None
        if found != sums:
            log.warning("%s: was changed or damaged, will be exported again", self.stem)
            self.drop()
            return None
        with suppress(OSError):
            os.utime(self._note)
        return apart

    def note(self, apart: float) -> None:
        """Say that the files have passed the check; from now on they are used."""
        sums = {file.suffix: _sha256(file) for file in self.files}
        text = json.dumps({"sha256": sums, "apart": apart}, indent=1)
        write_atomically(self._note, text.encode(), durable=False)
        self._make_room()

    def drop(self) -> None:
        """Remove all of it."""
        for file in (self._note, *self.files):
            file.unlink(missing_ok=True)

    def _make_room(self) -> None:
        notes = [(p.stat().st_mtime, p) for p in self.stem.parent.glob("*.json")]
        for _, note in sorted(notes)[: max(len(notes) - MOST, 0)]:
            for file in self.stem.parent.glob(f"{note.stem}.*"):
                file.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
