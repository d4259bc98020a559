"""A bell on folders: it rings at once when a whole file came, where the system tells of it.

Linux does so (inotify), of its own disks; what another machine writes on a network drive nobody
tells. So whoever waits for the bell waits no longer than until the next look.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Bell"]

WRITTEN, MOVED_HERE, MADE, GONE, LOST = 0x8, 0x80, 0x100, 0x8000, 0x4000  # of inotify
ONLY_FOLDERS, OF_FOLDER = 0x0100_0000, 0x4000_0000
EVENT = struct.Struct("iIII")  # which folder, what, of which move, length of the name behind it
MOST = 1000  # folders
BYTES = 65536


class Bell:
    """Rings for the folders it hangs on, and by hand; one thread waits for it."""

    def __init__(self) -> None:
        self._told, self._add = _inotify()
        self._hand, self._string = os.pipe()
        for one in (self._hand, self._string):
            os.set_blocking(one, False)
        self._folders: set[int] = set()

    def hang(self, folder: Path) -> bool:
        """Ring for what comes into this folder, not below it → whether the system tells."""
        if self._told < 0 or len(self._folders) >= MOST:
            return False
        what = WRITTEN | MOVED_HERE | MADE | ONLY_FOLDERS
        number = self._add(self._told, os.fsencode(folder), what)
        if number >= 0:
            self._folders.add(number)
        return number >= 0

    def ring(self) -> None:
        """Let whoever waits go on, or the next one who does."""
        if self._string >= 0:
            with suppress(BlockingIOError):
                os.write(self._string, b"!")

    def wait(self, seconds: float) -> bool:
        """Until it rings, or so long → whether it rang."""
        ears, end = select.poll(), time.monotonic() + seconds
        for one in (self._hand, self._told):
            if one >= 0:
                ears.register(one, select.POLLIN)
        while ready := ears.poll(max(0.0, 1000 * (end - time.monotonic()))):
            rung = [self._rang(one) for one, _ in ready]
            if any(rung):
                return True
        return False

    def _rang(self, ear: int) -> bool:
        """Read all that was told there → whether it rings for any of that."""
        found = False
        with suppress(BlockingIOError):
            while data := os.read(ear, BYTES):
                found |= ear == self._hand or self._of_files(data)
        return found

    def _of_files(self, data: bytes) -> bool:
        """Whether a file is whole, or a folder new, in which there may be some; none is hidden."""
        at, found = 0, False
        while at < len(data):
            number, what, _, length = EVENT.unpack_from(data, at)
            hidden = data[at + EVENT.size : at + EVENT.size + 1] == b"." if length else False
            at += EVENT.size + length
            if what & GONE:
                self._folders.discard(number)
            whole = what & (WRITTEN | MOVED_HERE) or (what & MADE and what & OF_FOLDER)
            found |= bool(what & LOST or (whole and not hidden))
        return found

    def close(self) -> None:
        """Nobody waits any longer; once more is no error."""
        open_ = [one for one in (self._told, self._hand, self._string) if one >= 0]
        self._told = self._hand = self._string = -1
        for one in open_:
            os.close(one)


def _inotify() -> tuple[int, ctypes._CFuncPtr | None]:
    """Where it tells, and what adds a folder; -1 where there is none, or no more of them."""
    if sys.platform != "linux":
        return -1, None
    system = ctypes.CDLL(None)
    return system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), system.inotify_add_watch
