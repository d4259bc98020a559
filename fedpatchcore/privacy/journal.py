"""An append-only file of JSON lines, each with the SHA-256 of the line before it.

A line that was edited, removed from the middle or moved breaks the chain and is refused. A line
torn at the very end is a process or machine that died while it wrote: nothing followed from it,
so it counts as absent and is cut off by the next line. One that is whole but for its line break
counts as written: a charge too many costs budget, a charge too few costs privacy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedpatchcore.errors import PrivacyError
from fedpatchcore.files import sync
from fedpatchcore.privacy.records import Charge, Delivery, entry_adapter

__all__ = ["Tail", "append", "entries"]


@dataclass
class Tail:
    """Where the next line goes and what it must name as its predecessor."""

    lines: int = 0
    digest: str = "0" * 64
    end: int = 0  # bytes that are sound
    broken: bool = False  # the line break of the last line is missing

    def follow(self, text: bytes, *, broken: bool) -> None:
        self.lines += 1
        self.digest = hashlib.sha256(text).hexdigest()
        self.end += len(text) + (not broken)
        self.broken = broken


def entries(path: Path, tail: Tail) -> Iterator[Charge | Delivery]:
    """All records, verified one by one; ``tail`` follows. No file means no records.

    Raises:
        PrivacyError: a line is damaged, missing or out of order.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        while line := file.readline():
            text, last = line.removesuffix(b"\n"), not file.peek(1)
            try:
                entry = entry_adapter.validate_json(text)
            except ValidationError as reason:
                first = reason.errors()[0]
                if last and first["type"] == "json_invalid":
                    return
                raise _damaged(path, tail.lines + 1, first["msg"]) from None
            if entry.sequence != tail.lines + 1:
                raise _damaged(path, tail.lines + 1, f"it says it is line {entry.sequence}")
            if entry.previous != tail.digest:
                raise _damaged(path, tail.lines + 1, "the line before it was changed")
            tail.follow(text, broken=text == line)
            yield entry


def append(path: Path, tail: Tail, entry: Charge | Delivery) -> None:
    """Write the record after the ``tail`` and wait until the disk has it.

    The caller holds a lock and has read to the end. Raises OSError when the disk refuses; the
    file is then as it was, or ends in a torn line.
    """
    text = entry.model_dump_json().encode()
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    with file:
        file.truncate(tail.end)
        try:
            file.seek(tail.end)
            rest = memoryview((b"\n" if tail.broken else b"") + text + b"\n")
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(tail.end)
            raise
    sync(path.parent)
    tail.end += tail.broken
    tail.follow(text, broken=False)


def _damaged(path: Path, line: int, why: str) -> PrivacyError:
    return PrivacyError(
        f"ledger {path} is damaged at line {line}: {why}; restore the ledger's folder from a "
        "backup that holds every release, nothing is released until then"
    )
