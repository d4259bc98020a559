"""A station's own folder: data base, images by their content, banks; one process at a time.

STATE/station.db            queue, verdicts, people, trail
STATE/images/ab/ab12…       an image as it came, under its SHA-256
STATE/banks/ab12….safetensors
STATE/names.key             with which names that may be a patient's are hashed
STATE/lock                  held while the station runs
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import event

from fedpatchcore.errors import StationError
from fedpatchcore.files import private_folder, sync, write_atomically
from fedpatchcore.station.roles import ROLES
from fedpatchcore.web.audit import Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.people import People

__all__ = ["PART", "Full", "Place"]

MIGRATIONS = Path(__file__).with_name("migrations") / "versions"
PART = ".part"


@dataclass
class Place:
    """All that a station holds.

    Attributes:
        version: goes up whenever pages should load their live parts again.
        keeping: held from content to row, and by whoever deletes content that no row names.
    """

    folder: Path
    database: Database
    trail: Trail
    people: People
    version: int = 0
    keeping: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _lock: BinaryIO | None = field(default=None, repr=False)
    _key: bytes = field(default=b"", repr=False)

    @classmethod
    def open(cls, folder: Path) -> Place:
        """Open it, or make it. Raises StationError where it cannot be written."""
        try:
            for one in (folder, folder / "images", folder / "banks"):
                private_folder(one)
            database = Database(folder / "station.db", MIGRATIONS)
        except OSError as error:
            raise StationError(f"cannot write {folder}: {error.strerror}") from None
        event.listen(database.engine, "connect", _forgets)
        database.upgrade()
        trail = Trail(database)
        return cls(folder, database, trail, People(database, trail, ROLES))

    def lock(self) -> None:
        """Be the one process of this station. Raises StationError if another one is."""
        file = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StationError(
                f"a station runs in {self.folder} already: stop it first, or give this one a "
                "state folder of its own"
            ) from None
        self._lock = file

    def running(self) -> bool:
        """Whether a process of this station runs, other than this one."""
        with (self.folder / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def changed(self) -> None:
        """Pages should look again."""
        self.version += 1

    def mark(self, told: str | bytes) -> str:
        """A name in place of one that may hold a patient's: nobody without the key finds it out."""
        if not self._key:
            self._key = _key(self.folder / "names.key")
        data = told.encode(errors="surrogateescape") if isinstance(told, str) else told
        return hashlib.blake2b(data, digest_size=12, key=self._key).hexdigest()

    # -- images -----------------------------------------------------------------------

    def image(self, digest: str) -> Path:
        """Where the image of this content lies."""
        return self.folder / "images" / digest[:2] / digest

    def keep(self, data: bytes) -> str:
        """Keep an image's content, safe on the disk when this returns → its SHA-256.

        Raises:
            StationError: the disk is full or cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        file = self.image(digest)
        if file.exists() and file.stat().st_size == len(data):
            return digest
        part = file.with_name(f"{digest}.{os.getpid()}{PART}")
        try:
            file.parent.mkdir(mode=0o700, exist_ok=True)
            with part.open("wb") as target:
                os.fchmod(target.fileno(), 0o600)
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            part.replace(file)
            sync(file.parent)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise Full(f"cannot keep an image in {self.folder}: {error.strerror}") from None
        return digest

    def drop(self, digest: str) -> None:
        """Delete an image's content."""
        self.image(digest).unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that are left on its disk."""
        return shutil.disk_usage(self.folder).free

    def close(self) -> None:
        """Let go of the data base and the lock."""
        self.database.close()
        if self._lock is not None:
            self._lock.close()


class Full(StationError):
    """The disk takes no more; it is tried again later."""

    status = 507


def _key(file: Path) -> bytes:
    """Made once, of chance; readable by the station's own user."""
    try:
        if not file.exists():
            write_atomically(file, secrets.token_bytes(32))
            file.chmod(0o600)
        return file.read_bytes()[:64]
    except OSError as error:
        raise Full(f"cannot keep {file}: {error.strerror}") from None


def _forgets(connection: object, _: object) -> None:
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is written over
