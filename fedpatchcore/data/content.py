"""A file's content as a key, hashed once as long as the file stays as it is."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fedpatchcore.data.decoding import guarded, require_file
from fedpatchcore.errors import ImageError

__all__ = ["by_content", "content_hash", "file_state", "hashed"]

SETTLED_NS = 2_000_000_000  # a younger file may change again without its times showing it
REMEMBERED = 1 << 18  # files; some 100 MB at most


def by_content(paths: Iterable[Path]) -> dict[str, Path]:
    """The first file of each content, by its hash; files that cannot be read are left out."""
    found: dict[str, Path] = {}
    for path in paths:
        with suppress(ImageError):
            found.setdefault(content_hash(path), path)
    return found


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, 64 hexadecimal digits: a cache key that outlives renames.

    A process that stays reads a file again only when its inode, size or times have changed.

    Raises:
        ImageError: the file cannot be read.
    """
    path = Path(path)

    def digest() -> str:
        require_file(path)
        if (known := _known.get(path, path.stat())) is not None:
            return known
        with path.open("rb") as file:
            return hashed(file, path)

    return guarded(digest, path)


def file_state(path: Path) -> tuple[str | int, ...]:
    """The path and what changes when its file does; nothing is opened, nothing raised."""
    try:
        told = path.stat()
    except OSError:
        return path.as_posix(), -1
    return path.as_posix(), told.st_size, told.st_mtime_ns, told.st_ctime_ns


def hashed(file: BinaryIO, path: Path) -> str:
    """`content_hash` of a file that has just been opened, and stands at its beginning again."""
    state = os.fstat(file.fileno())
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    _known.put(path, state, digest)
    return digest


class _Known:
    """Digests of files in the state that they were read in, the latest asked for kept longest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[tuple, str] = OrderedDict()

    def get(self, path: Path, state: os.stat_result) -> str | None:
        key = self._key(path, state)
        with self._lock:
            if key in self._digests:
                self._digests.move_to_end(key)
            return self._digests.get(key)

    def put(self, path: Path, state: os.stat_result, digest: str) -> None:
        """Keep it, unless the file is so young that it may change unseen."""
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < SETTLED_NS:
            return
        with self._lock:
            self._digests[self._key(path, state)] = digest
            if len(self._digests) > REMEMBERED:
                self._digests.popitem(last=False)

    @staticmethod
    def _key(path: Path, state: os.stat_result) -> tuple:
        times = state.st_mtime_ns, state.st_ctime_ns
        return path, state.st_dev, state.st_ino, state.st_size, *times


_known = _Known()
