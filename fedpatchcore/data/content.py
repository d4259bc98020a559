"""A file's content as a key, hashed once as long as the file stays as it is."""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path

from fedpatchcore.data.decoding import guarded, require_file

__all__ = ["content_hash"]

SETTLED_NS = 2_000_000_000  # a younger file may change again without its times showing it
REMEMBERED = 1 << 18  # files; some 100 MB at most


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, 64 hexadecimal digits: a cache key that outlives renames.

    A process that stays reads a file again only when its inode, size or times have changed.

    Raises:
        ImageError: the file cannot be read.
    """
    path = Path(path)

    def digest() -> str:
        require_file(path)
        told = path.stat()
        if time.time_ns() - max(told.st_mtime_ns, told.st_ctime_ns) < SETTLED_NS:
            return _read(path)
        return _known(
            path, told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns
        )

    return guarded(digest, path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=REMEMBERED)
def _known(path: Path, *state: int) -> str:
    """The digest of a file in this state."""
    return _read(path)
