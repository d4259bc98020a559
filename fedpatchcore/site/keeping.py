"""What a site keeps of a secure sum between exchanges: its half, and the numbers that it will add.

Files beside the ledger, for the owner alone; those of sums that never opened go after two days.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.errors import SecureSumError
from fedpatchcore.files import private_folder, read_arrays, to_bytes, write_atomically

__all__ = ["Kept"]

KEPT_SECONDS = 2 * 86400.0
NUMBERS = ".safetensors"


class Kept:
    """One sum of a run's round: a second about the same can't be begun.

    Args:
        about: what is added, see `fedpatchcore.wire.sums.ABOUT`.

    Raises:
        SecureSumError: the site has no folder for it.
    """

    def __init__(self, folder: Path | None, run: str, number: int, about: str = "sums") -> None:
        if folder is None:
            raise SecureSumError("this site keeps nothing between messages, and adds to no sum")
        name = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        more = "" if about == "sums" else f"-{about}"
        self._folder, self._path = folder, folder / f"{name}-{number}{more}.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else answers for this site meanwhile: of two questions at a time both would find
        the same half, and each would be the first of its exchange.

        Raises SecureSumError if the folder cannot be written.
        """
        try:
            private_folder(self._folder)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._stuck(self._folder, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
            yield
        finally:
            os.close(lock)

    def read(self) -> Mapping[str, Any]:
        """The half as it was kept; empty if none was. Raises SecureSumError if unreadable."""
        try:
            told = json.loads(self._path.read_text())
            if not isinstance(told, dict) or "half" not in told:
                raise ValueError("no half of a sum")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SecureSumError(
                f"the kept half of a secure sum {self._path} cannot be read ({error}): this site "
                "sits the round out"
            ) from None
        return told

    def write(self, told: Mapping[str, Any]) -> None:
        """Keep it, durably and for the owner alone; what is long over goes."""
        self._write(self._path, json.dumps(told).encode())

    def numbers(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What `put` kept. Raises SecureSumError if nothing was."""
        path = self._path.with_suffix(NUMBERS)
        if not path.exists():
            raise SecureSumError(
                "a secure sum is asked of this site, which has nothing of that round to add"
            )
        text, arrays = read_arrays(path, kind="kept numbers of a sum", error=SecureSumError)
        return json.loads(text), arrays

    def put(self, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep what the site will add, and what is to be known of it."""
        self._write(self._path.with_suffix(NUMBERS), to_bytes(arrays, told))

    def drop(self) -> None:
        """The numbers have been added."""
        with suppress(OSError):
            self._path.with_suffix(NUMBERS).unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            private_folder(self._folder)
            self._forget()
            write_atomically(path, content)
            path.chmod(0o600)
        except OSError as error:
            raise self._stuck(path, error) from None

    @staticmethod
    def _stuck(path: Path, error: OSError) -> SecureSumError:
        return SecureSumError(
            f"cannot keep {path} ({error.strerror or error}): nothing was sent; free space or make "
            "the folder writable"
        )

    def _forget(self) -> None:
        before = time.time() - KEPT_SECONDS
        for kind in (".json", NUMBERS):
            for old in self._folder.glob(f"*-*{kind}"):
                with suppress(OSError):
                    if old.stat().st_mtime < before:
                        old.unlink()
