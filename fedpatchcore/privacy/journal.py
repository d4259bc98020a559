"""An append-only file of JSON lines that knows its end.

    ledger.jsonl   each line: a record, which names the SHA-256 of the record before it and ends
                   in its own (``digest``, over the record without that field)
    ledger.head    how many lines there are and the last one's digest, written after each of them

A line that was edited, removed, moved or added is refused, the last one like any other. The one
thing that passes is what a death in the middle of an append leaves: at the very end a single line
that the head does not count yet. Nothing followed from it. If it has no line break and is not
whole it is torn: it counts as absent and is cut off by the next line; otherwise it counts as
written, for a charge too many costs budget, and a charge too few costs privacy.

Ledgers of versions before 0.4 have no head and no digest at a line's end: they are read by the
chain alone, and get a head when they are next opened for writing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpatchcore.errors import PrivacyError
from fedpatchcore.files import sync, write_atomically
from fedpatchcore.privacy.records import Charge, Delivery, Digest, entry_adapter

__all__ = ["Tail", "append", "entries", "head_path", "note_end"]

SEAL = re.compile(rb'(\{.*),"digest":"([0-9a-f]{64})"\}', re.DOTALL)
START = "0" * 64


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lines: int = Field(ge=0)
    digest: Digest
    unsealed: int = Field(ge=0)  # lines of a version before 0.4, at the beginning


@dataclass
class Tail:
    """Where the next line goes and what it must name as its predecessor."""

    lines: int = 0
    digest: str = START
    end: int = 0  # bytes that are sound
    broken: bool = False  # the line break of the last line is missing
    noted: int | None = None  # lines that the head counts; None: there is no head
    unsealed: int = 0

    def follow(self, text: bytes, length: int, *, broken: bool) -> None:
        self.lines += 1
        self.digest = _digest(text)
        self.end += length
        self.broken = broken


def head_path(path: Path) -> Path:
    """The head of a journal."""
    return path.with_name(f"{path.stem}.head")


def entries(path: Path, tail: Tail) -> Iterator[Charge | Delivery]:
    """All records, verified one by one; ``tail`` follows. No file means no records.

    Raises:
        PrivacyError: a line is damaged, missing or out of order, or the head is.
    """
    head = _read_head(path)
    tail.noted = head.lines if head else None
    if path.exists():
        with path.open("rb") as file:
            while line := file.readline():
                entry = _entry(path, tail, head, line, last=not file.peek(1))
                if entry is None:
                    break
                yield entry
    if head is not None and tail.lines < head.lines:
        raise _damaged(path, tail.lines + 1, f"its head counts {head.lines} lines")
    if head is None and tail.lines > max(1, tail.unsealed):  # the first line alone may precede it
        raise _damaged(path, tail.lines, f"its head {head_path(path).name} is gone")


def _entry(
    path: Path, tail: Tail, head: _Head | None, line: bytes, *, last: bool
) -> Charge | Delivery | None:
    """The record of a line; None of one that is torn."""
    number, whole = tail.lines + 1, line.endswith(b"\n")
    text = line[:-1] if whole else line
    noted = head is not None and number <= head.lines
    if head is not None and number > head.lines + 1:
        raise _damaged(path, number, f"its head counts {head.lines} lines")
    if head is not None and number == head.lines + 1 and tail.digest != head.digest:
        raise _damaged(path, number - 1, "it is not the line that the head names")
    torn = last and not whole and not noted
    seal = SEAL.fullmatch(text)
    if (head is not None and number <= head.unsealed) or (head is None and not seal):
        record, tail.unsealed = text, number
    elif seal and seal[2].decode() == _digest(seal[1] + b"}"):
        record = seal[1] + b"}"
    elif torn:
        return None
    else:
        raise _damaged(path, number, "it does not match its digest")
    try:
        entry = entry_adapter.validate_json(record)
    except ValidationError as reason:
        first = reason.errors()[0]
        if torn and first["type"] == "json_invalid":
            tail.unsealed = min(tail.unsealed, number - 1)
            return None
        raise _damaged(path, number, first["msg"]) from None
    if entry.sequence != number:
        raise _damaged(path, number, f"it says it is line {entry.sequence}")
    if entry.previous != tail.digest:
        raise _damaged(path, number, "the line before it was changed")
    tail.follow(record, len(line), broken=not whole)
    if head is not None and number == head.lines and tail.digest != head.digest:
        raise _damaged(path, number, "it is not the line that the head names")
    return entry


def append(path: Path, tail: Tail, entry: Charge | Delivery) -> None:
    """Write the record after the ``tail``, then the head, and wait until the disk has both.

    The caller holds a lock and has read to the end. Raises OSError when the disk refuses; the
    file is then as it was, or ends in a line that the head does not count.
    """
    note_end(path, tail)
    record = entry.model_dump_json().encode()
    text = _sealed(record)
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    with file:
        file.truncate(tail.end)
        try:
            file.seek(tail.end)
            rest = memoryview((b"\n" if tail.broken else b"") + text + b"\n")
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
            sync(path.parent)
            after = Tail(tail.lines, tail.digest, tail.end + tail.broken, unsealed=tail.unsealed)
            after.follow(record, len(text) + 1, broken=False)
            note_end(path, after)
        except OSError:
            with suppress(OSError):
                file.truncate(tail.end)
            raise
    for name in vars(after):
        setattr(tail, name, getattr(after, name))


def note_end(path: Path, tail: Tail) -> None:
    """Let the head count all lines, if it does not yet; the caller holds a lock. Raises OSError."""
    if tail.noted == tail.lines or (tail.noted is None and not tail.lines):
        return
    head = _Head(lines=tail.lines, digest=tail.digest, unsealed=tail.unsealed)
    record = head.model_dump_json().encode()
    target = head_path(path)
    write_atomically(target, _sealed(record) + b"\n")
    target.chmod(0o600)
    sync(target.parent)
    tail.noted = tail.lines


def _read_head(path: Path) -> _Head | None:
    """The head, or None if there is none. Raises PrivacyError if it is damaged."""
    try:
        content = head_path(path).read_bytes()
    except FileNotFoundError:
        return None
    seal = SEAL.fullmatch(content[:-1])
    try:
        if not seal or content != _sealed(seal[1] + b"}") + b"\n":
            raise ValueError
        return _Head.model_validate_json(seal[1] + b"}")
    except ValueError:
        raise _damaged(head_path(path), 1, "it does not match its digest") from None


def _sealed(record: bytes) -> bytes:
    """A JSON object with its digest as its last field."""
    return record[:-1] + b',"digest":"' + _digest(record).encode() + b'"}'


def _digest(record: bytes) -> str:
    return hashlib.sha256(record).hexdigest()


def _damaged(path: Path, line: int, why: str) -> PrivacyError:
    return PrivacyError(
        f"ledger {path} is damaged at line {line}: {why}; restore the ledger's folder from a "
        "backup that holds every release, nothing is released until then"
    )
