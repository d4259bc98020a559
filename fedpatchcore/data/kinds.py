"""Picture files of kinds that are not read, so that nobody takes them for learnt or judged."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fedpatchcore.data.decoding import reason
from fedpatchcore.errors import DataError

__all__ = ["OTHER_SUFFIXES", "other_pictures"]

OTHER_SUFFIXES: frozenset[str] = frozenset(
    {".gif", ".jp2", ".j2k", ".jpe", ".jfif", ".jxl", ".jxr", ".avif", ".heic", ".heif"}
    | {".pgm", ".ppm", ".pbm", ".pnm", ".pfm", ".tga", ".pcx", ".exr", ".hdr", ".dds", ".svg"}
    | {".raw", ".dng", ".cr2", ".nef", ".arw", ".fits", ".npy", ".npz", ".avi", ".mp4"}
)
"""Suffixes of files that hold pictures and are not read; compared in lower case."""


def other_pictures(folders: Iterable[Path]) -> list[Path]:
    """Visible files with such a suffix, sorted; of these folders, not of those in them.

    Raises:
        DataError: a folder is not readable.
    """
    found = []
    for folder in dict.fromkeys(folders):
        try:
            with os.scandir(folder) as scan:
                found += [
                    folder / entry.name
                    for entry in scan
                    if not entry.name.startswith(".")
                    and Path(entry.name).suffix.lower() in OTHER_SUFFIXES
                    and not entry.is_dir()
                ]
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({reason(error)})") from error
    return sorted(found)
