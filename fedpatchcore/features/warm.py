"""What a process that stays keeps in memory of its cache: the entries used last, up to a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

__all__ = ["Warm"]

Entry = tuple[dict[str, Any], dict[str, np.ndarray]]
OVERHEAD = 1024  # bytes counted for an entry beside its arrays


class Warm:
    """Cache entries in memory. Arrays are handed out read-only: everybody gets the same ones.

    Args:
        limit: bytes; the least recently used entries give way. 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._lock = threading.Lock()  # images are made ready in several threads

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Entry | None:
        """The entry under a key, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(
        self, key: Hashable, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Keep an entry, in place of one that was there. What does not fit is not kept."""
        kept = {}
        for name, array in arrays.items():
            # One that can be written to is copied: whoever made it may go on with it, and a view
            # of a batch would keep all of the batch.
            kept[name] = array.copy() if array.flags.writeable else array.view()
            kept[name].flags.writeable = False
        size = _size(kept)
        with self._lock:
            self._drop(key)
            if size > self.limit:
                return
            self._entries[key] = dict(header), kept
            self.nbytes += size
            while self.nbytes > self.limit:
                self._drop(next(iter(self._entries)))

    def drop(self, key: Hashable) -> None:
        """Forget an entry, if it is there."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.nbytes = 0

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.nbytes -= _size(entry[1])


def _size(arrays: Mapping[str, np.ndarray]) -> int:
    return OVERHEAD + sum(_held(one) for one in arrays.values())


def _held(array: np.ndarray) -> int:
    """Bytes that an array keeps alive: all of what it is a view of."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return max(array.nbytes, base.nbytes)
