"""The trail: who did what, when, from where, with before and after; append-only and chained.

Each record names the SHA-256 of the record before it. It is written in the transaction of what it
tells, so that neither is there without the other. In the room's folder a file ``audit.head`` says
how many records there are and the last one's digest: a record that was edited, removed or moved is
told, the last like any other. The one thing that passes is what a death between the two leaves:
records that the head does not count yet.

Whoever can write both files can forge both. An export kept elsewhere, or its head alone, finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedpatchcore.errors import ControlError
from fedpatchcore.files import write_atomically
from fedpatchcore.texts import NAME, one_line
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now
from fedpatchcore.web.tables import Audit

__all__ = ["START", "Actor", "Trail", "verified"]

START = "0" * 64
LONGEST = 4000  # characters of a value in a record


@dataclass(frozen=True)
class Actor:
    """Who does something, and from where."""

    name: str
    origin: str = ""


SYSTEM = Actor("control room")


class HeadBehind(ControlError):
    """What was asked for is done and in the trail; the head does not count it yet."""

    status = 503


class Trail:
    """The trail of one data base; its head is a file in ``folder``, by default beside SQLite's."""

    def __init__(self, database: Database, folder: Path | None = None) -> None:
        self.database = database
        place = folder or (database.path.parent if database.path else Path())
        self.head_file = place / "audit.head"

    def add(
        self,
        session: Session,
        actor: Actor,
        what: str,
        on: str,
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Write a record in a `Database.write` session; its head follows by `note_head`."""
        last = session.execute(
            select(Audit.number, Audit.digest).order_by(Audit.number.desc()).limit(1)
        ).first()
        number, previous = (last.number + 1, last.digest) if last else (1, START)
        record = json.dumps(
            {
                "number": number,
                "at": now(),
                "who": one_line(actor.name, NAME),
                "from": one_line(actor.origin, NAME),
                "what": what,
                "on": one_line(on, NAME),
                "before": _short(before),
                "after": _short(after),
                "previous": previous,
            },
            ensure_ascii=False,
        )
        session.add(Audit(number=number, record=record, digest=_digest(record)))
        session.flush()

    def note_head(self) -> None:
        """Let the file beside the data base count all records. Raises ControlError."""
        with self.database.read() as session:
            last = session.execute(
                select(Audit.number, Audit.digest).order_by(Audit.number.desc()).limit(1)
            ).first()
        if last is None:
            return
        try:
            write_atomically(self.head_file, f"{last.number}:{last.digest}\n".encode())
            self.head_file.chmod(0o600)
        except OSError as error:
            raise HeadBehind(
                f"it is done, but the trail's head {self.head_file} cannot be written "
                f"({error.strerror}): make room, the next act writes it"
            ) from None

    def lines(self) -> Iterator[str]:
        """The export: a JSON object a line, each with its digest as the last field."""
        with self.database.read() as session:
            for record, digest in session.execute(
                select(Audit.record, Audit.digest).order_by(Audit.number)
            ).yield_per(1000):
                yield record[:-1] + f', "digest": "{digest}"}}'

    def verify(self, head: str = "") -> str:
        """Look at every record and the head; returns the head, ``number:digest``.

        Args:
            head: of an earlier look, kept elsewhere: the trail must still hold that record.

        Raises:
            ControlError: a record was edited, removed, moved or added, or is gone at the end.
        """
        noted = [head] if head else []
        try:
            noted.append(self.head_file.read_text().strip())
        except FileNotFoundError:
            with self.database.read() as session:
                if session.scalar(select(func.count()).select_from(Audit)):
                    raise ControlError(f"the trail's head {self.head_file} is gone") from None
        return verified(self.lines(), noted)


def verified(lines: Iterable[str], heads: Iterable[str] = ()) -> str:
    """The head of an export, ``number:digest``; ``heads`` must all lie on its chain.

    Raises:
        ControlError: naming the first record that is not what was written.
    """
    wanted = [_head(head) for head in heads]
    number, previous = 0, START
    for number, line in enumerate(lines, 1):
        body, mark, rest = line.rstrip("\n").rpartition(', "digest": "')
        record, digest = body + "}", rest[:64]
        read = _told(record)
        if not mark or rest[64:] != '"}' or digest != _digest(record):
            raise _damaged(number, "it does not match its digest")
        if read.get("number") != number:
            raise _damaged(number, f"it says it is record {read.get('number')}")
        if read.get("previous") != previous:
            raise _damaged(number, "the record before it was changed")
        if any(at == number and told != digest for at, told in wanted):
            raise _damaged(number, "it is not the record that the head names")
        previous = digest
    if (most := max((at for at, _ in wanted), default=0)) > number:
        raise _damaged(number + 1, f"the head counts {most} records")
    return f"{number}:{previous}"


def _head(text: str) -> tuple[int, str]:
    number, colon, digest = text.partition(":")
    if not colon or not number.isdigit() or len(number) > 15 or len(digest) != 64:
        raise ControlError(f"{one_line(text, 80)!r} is no head of a trail: NUMBER:DIGEST")
    return int(number), digest


def _told(record: str) -> dict[str, Any]:
    try:
        told = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _short(value: Any) -> Any:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= LONGEST else one_line(text, LONGEST)


def _digest(record: str) -> str:
    return hashlib.sha256(record.encode(errors="surrogatepass")).hexdigest()


def _damaged(number: int, why: str) -> ControlError:
    return ControlError(
        f"the trail is damaged at record {number}: {why}; compare it with an export kept elsewhere"
    )
