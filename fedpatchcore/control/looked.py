"""Files of the results folder, opened as what they are: other hands may have put them there.

A run folder is opened itself and its files from it, never through a link; a pipe, a device or a
file beyond its bound is no file of a run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fedpatchcore.errors import RunError
from fedpatchcore.texts import is_name

__all__ = ["MOST", "folders", "opened", "read_bounded", "stamp"]

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MOST = 64 * 2**20  # bytes of a file of settings, figures or events that is looked at
FOLDERS = 100_000  # of runs that are looked at


@contextmanager
def opened(root: Path, run: str, name: str) -> Iterator[BinaryIO]:
    """A plain file of a run folder. Raises RunError for whatever else stands there."""
    if not is_name(run) or "/" in run or run.startswith("."):
        raise RunError(f"{run!r} is no name of a run folder")
    where = f"{root / run / name}"
    try:
        folder = os.open(root / run, FLAGS | os.O_DIRECTORY)
        try:
            file = os.open(name, FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RunError(f"cannot read {where}: {error.strerror}") from None
    with os.fdopen(file, "rb") as told:
        if not stat.S_ISREG(os.fstat(told.fileno()).st_mode):
            raise RunError(f"cannot read {where}: it is no plain file")
        yield told


def read_bounded(root: Path, run: str, name: str, most: int = MOST) -> bytes:
    """The bytes of such a file. Raises RunError if there are more than ``most``."""
    with opened(root, run, name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RunError(f"{root / run / name} is larger than {most / 1e6:.0f} MB, as no run's is")
    return data


def folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, links not among them; none if it is not there yet."""
    found: list[str] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                plain = entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                if plain and is_name(entry.name):
                    found.append(entry.name)
                if len(found) == FOLDERS:
                    break
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {root}: {error.strerror}") from None
    return found


def stamp(root: Path, run: str, name: str = "events.jsonl") -> str:
    """What changes when such a file does; empty where there is none."""
    try:
        told = os.lstat(root / run / name)
    except OSError:
        return ""
    return f"{told.st_ino}:{told.st_size}:{told.st_mtime_ns}"
