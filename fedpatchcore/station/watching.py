"""The watched folder: looked into again and again, each whole file taken in once.

Works on network drives, where no system tells of changes; where one does (`bell`), a look follows
at once. A file is taken when it is whole: when
its own end stands in it (`fedpatchcore.station.whole`), or, where the format has none, when it did
not change for ``settle-seconds``. A file that ends in the middle is waited for; after
``patience-seconds`` without a change it is taken as it is, and told as unreadable.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select

from fedpatchcore.data.dicom import DICOM_HEAD
from fedpatchcore.data.images import IMAGE_SUFFIXES
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.station.arriving import Arrivals, Busy
from fedpatchcore.station.bell import Bell
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Seen
from fedpatchcore.station.whole import ends_itself
from fedpatchcore.texts import one_line

__all__ = ["Watcher"]

DEEPEST = 8  # folders below the watched one
LOOK_UP = 500  # sources a query


@dataclass
class _File:
    """A file that is not taken in yet."""

    stamp: str
    since: float  # time.monotonic() at which it was first seen like this
    whole: bool | None = None
    looked: bool = False


class Watcher:
    """Looks into one folder.

    Attributes:
        trouble: why nothing comes in just now; empty: all is well.
        bell: rings when a file came; `run` then looks before its time.
    """

    def __init__(self, arrivals: Arrivals, settings: StationSettings) -> None:
        self.arrivals, self.settings = arrivals, settings
        self.root = Path(settings.watch).expanduser().absolute()
        self.trouble, self.bell = "", Bell()
        self.last = 0.0  # time.monotonic() of the last look that was whole
        self._known: dict[str, str] = {}  # taken in: source → stamp
        self._open: dict[str, _File] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; nothing that goes wrong ends it."""
        while not stop.is_set():
            try:
                self.look(stop)
                self.trouble = ""
                self.last = time.monotonic()
            except (FedPatchCoreError, OSError) as error:
                self.trouble = one_line(error, 300)
            self.bell.wait(self.settings.poll_seconds)

    def look(self, stop: threading.Event | None = None) -> int:
        """One look: takes in what is whole → how many.

        Raises:
            OSError: the folder is not there; what was in it is not forgotten.
            StationError: an image could not be kept; it stays in the folder for the next look.
        """
        found = dict(self._listed())
        self._forget(found)
        fresh = [one for one, stamp in found.items() if self._known.get(one) != stamp]
        self._look_up([one for one in fresh if one not in self._open])
        taken = 0
        for source in fresh:
            if stop is not None and stop.is_set():
                break
            if self._known.get(source) == found[source]:
                self._leave(source, found[source])
                continue
            taken += self._consider(source, found[source])
        return taken

    def _listed(self) -> Iterator[tuple[str, str]]:
        """``(source, stamp)`` of the image files, the oldest first."""
        files: list[tuple[int, str, str]] = []
        folders = [(self.root, "", 0)]
        while folders:
            folder, below, depth = folders.pop()
            self.bell.hang(folder)  # before it is listed: nothing falls in between
            try:
                entries = list(os.scandir(folder))
            except OSError:
                if not depth:
                    raise
                continue  # it was just removed
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    if entry.is_dir():
                        if depth < DEEPEST and not entry.is_symlink():
                            folders.append((Path(entry.path), f"{below}{entry.name}/", depth + 1))
                    elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                        told = entry.stat()
                        stamp = f"{told.st_size}:{told.st_mtime_ns}"
                        files.append((told.st_mtime_ns, f"{below}{entry.name}", stamp))
                except OSError:
                    continue
        for _, source, stamp in sorted(files):
            yield source, stamp

    def _forget(self, found: dict[str, str]) -> None:
        """Files that are gone may come again under their names."""
        gone = [one for one in self._known if one not in found]
        for one in gone:
            del self._known[one]
        for one in [one for one in self._open if one not in found]:
            del self._open[one]
        for at in range(0, len(gone), LOOK_UP):
            with self.arrivals.place.database.write() as session:
                part = [self.arrivals.place.mark(one) for one in gone[at : at + LOOK_UP]]
                session.execute(delete(Seen).where(Seen.source.in_(part)))

    def _look_up(self, sources: list[str]) -> None:
        """What was taken in before this process began."""
        for at in range(0, len(sources), LOOK_UP):
            part = {self.arrivals.place.mark(one): one for one in sources[at : at + LOOK_UP]}
            with self.arrivals.place.database.read() as session:
                rows = session.execute(select(Seen.source, Seen.stamp).where(Seen.source.in_(part)))
                self._known.update((part[row.source], row.stamp) for row in rows)

    def _consider(self, source: str, stamp: str) -> int:
        moment, one = time.monotonic(), self._open.get(source)
        if one is None or one.stamp != stamp:
            one = self._open[source] = _File(stamp, moment)
        quiet = moment - one.since
        if one.looked and one.whole is None and quiet < self.settings.settle_seconds:
            return 0
        if one.looked and one.whole is False and quiet < self.settings.patience_seconds:
            return 0
        path, size = self.root / source, int(stamp.partition(":")[0])
        data, refused = b"", ""
        if size > self.settings.largest_mb * 1e6:
            refused = f"{size / 1e6:.0f} MB, more than largest-mb = {self.settings.largest_mb:g}"
        else:
            try:
                data = path.read_bytes()
            except OSError:
                return 0  # it is being written, or was just removed; the next look sees
            if not one.looked:
                one.whole, one.looked = ends_itself(data), True
                if one.whole is not True:
                    return 0
            told = path.stat()
            if f"{told.st_size}:{told.st_mtime_ns}" != stamp:
                return 0
        try:
            private = self.arrivals.private(data or _head(path), source)
            product = self.arrivals.product(source, private=private)
            told = {"stamp": stamp, "refused": refused, "private": private}
            self.arrivals.take(data, source, product, **told)
        except Busy:
            return 0  # told by the queue's length
        self._known[source] = stamp
        self._open.pop(source, None)
        self._leave(source, stamp)
        return 1

    def _leave(self, source: str, stamp: str) -> None:
        """Delete a file that the station holds, where it is told to."""
        if self.settings.taken != "delete":
            return
        path = self.root / source
        try:
            told = path.stat()
            if f"{told.st_size}:{told.st_mtime_ns}" == stamp:
                path.unlink()
        except OSError as error:
            self.trouble = f"cannot delete files from the watched folder: {error.strerror}"


def _head(path: Path) -> bytes:
    """What a file that is not taken in begins with; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(DICOM_HEAD)
    except OSError:
        return b""
