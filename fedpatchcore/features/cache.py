"""A site's cache on disk, so that a later round or a retry does not extract again.

Every message may start a new process, so memory does not survive; this does. A process that
stays (a site's worker) lays `Warm` over it. Features are
kept per image, keyed by the backbone's fingerprint and the image's content: a renamed file
is found again, a changed one is not. The cache never decides a result, and a full disk or a
damaged entry only costs time (and is said).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.errors import BankError
from fedpatchcore.features.warm import Warm
from fedpatchcore.files import private_folder, read_arrays, to_bytes, write_atomically

__all__ = ["SiteCache"]

log = logging.getLogger("fedpatchcore")


class SiteCache:
    """Arrays with a small JSON header under string keys, bounded in size.

    The least recently used entries give way when ``limit_gb`` is reached. ``limit_gb=0``
    turns the cache off.

    Args:
        warm: keeps what was used last in memory too; it may serve several caches.
    """

    def __init__(self, root: Path, limit_gb: float, *, warm: Warm | None = None) -> None:
        self.root = root
        self._warm = Warm(0) if warm is None else warm
        self.limit = int(limit_gb * 1e9)
        self._writable = self.limit > 0
        self._size = sum(size for _, size, _ in self._entries()) if self._writable else 0

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each was used last, bytes, file; another process may remove some meanwhile."""
        found = []
        for path in self.root.glob("*/*.safetensors") if self.root.is_dir() else ():
            with suppress(FileNotFoundError):
                told = path.stat()
                found.append((told.st_mtime, told.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Header and arrays stored under ``key``, or None. A damaged entry is removed."""
        path = self._path(key)
        if not self.limit or not path.is_file():
            return None
        if (entry := self._warm.get(path)) is not None:
            with suppress(OSError):
                os.utime(path)
            return entry
        try:
            text, arrays = read_arrays(path, kind="cache", error=BankError)
            header = json.loads(text)
        except (BankError, ValueError) as error:
            log.warning("%s: removed, will be computed again", error)
            self._size -= _length(path)
            path.unlink(missing_ok=True)
            return None
        for one in arrays.values():
            one.flags.writeable = False  # whoever asks next may get the same ones
        self._warm.put(path, header, arrays)
        with suppress(OSError):  # a read-only cache cannot note the access; the entry is good
            os.utime(path)  # not touch, which would make it anew if it was just removed
        return header, arrays

    def holds(self, key: str) -> bool:
        """Whether something is stored under ``key``; it is not opened, but counts as used."""
        with suppress(OSError):
            os.utime(self._path(key))
        return bool(self.limit) and self._path(key).is_file()

    def room(self) -> int:
        """Bytes that its disk has left; 0 if nobody can tell."""
        there = next((p for p in (self.root, *self.root.parents) if p.is_dir()), self.root)
        try:
            return shutil.disk_usage(there).free
        except OSError:
            return 0

    def put(
        self, key: str, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None
    ) -> bool:
        """Store arrays. If the disk refuses, say so once and go on without writing.

        Returns:
            Whether they are stored.
        """
        if not self._writable:
            return False
        self._warm.drop(self._path(key))
        content = to_bytes(arrays, header or {})
        if len(content) > self.limit:
            return False
        try:
            path = self._path(key)
            if self._size - _length(path) + len(content) > self.limit:
                self._make_room(len(content))
            before = _length(path)
            private_folder(self.root)
            write_atomically(path, content, durable=False)
            self._size += len(content) - before
        except OSError as error:
            self._writable = False
            log.warning(
                "cache %s cannot be written (%s): going on without it; free space or set "
                "another cache folder",
                self.root,
                error.strerror,
            )
            return False
        self._warm.put(self._path(key), header or {}, arrays)
        return True

    def drop(self, key: str) -> None:
        """Remove what is stored under ``key``, if anything is."""
        path = self._path(key)
        self._warm.drop(path)
        with suppress(OSError):  # a read-only cache keeps it
            length = _length(path)
            path.unlink()
            self._size -= length

    def _make_room(self, needed: int) -> None:
        entries = sorted(self._entries())
        self._size = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._size + needed <= 0.9 * self.limit:
                break
            path.unlink(missing_ok=True)
            self._size -= size


def _length(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
