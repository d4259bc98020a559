"""The tables of a station's data base. Moments are milliseconds since 1970, UTC.

An image is a row from the moment it is taken in: the same row is its place in the queue, its
verdict, and what was measured of it. People's words are rows of their own, and the last counts.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fedpatchcore.web.tables import NAMES, NUMBERS

__all__ = [
    "Alarm",
    "BankUse",
    "Base",
    "Chosen",
    "Draw",
    "Inspection",
    "Outgoing",
    "Seen",
    "Taught",
    "WatchRow",
    "WayBack",
    "Word",
]


class Base(DeclarativeBase):
    """What all tables have in common."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = NUMBERS


class Inspection(Base):
    """One image: the same content from the same place is the same row."""

    __tablename__ = "inspection"
    __table_args__ = (
        UniqueConstraint("source", "digest"),
        Index(None, "state", "urgent", "id"),
        Index(None, "verdict", "said", "id"),
        Index(None, "digest"),
        Index(None, "arrived_at"),
        Index(None, "watched", "state"),
        Index(None, "drawn", "said", "id"),
        Index(None, "product", "bank", "own", "judged_by", "score"),
        {"sqlite_autoincrement": True},  # a number is never another image's
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]  # the path below the watched folder, or a caller's name for it
    digest: Mapped[str]  # SHA-256 of the file
    size: Mapped[int]  # bytes
    product: Mapped[str]
    arrived_at: Mapped[int]
    urgent: Mapped[int]  # 1: a caller waits
    state: Mapped[str]  # waiting, judged, failed
    begun: Mapped[int] = mapped_column(default=0)  # times that judging it began and did not end
    error: Mapped[str] = mapped_column(default="")
    judged_at: Mapped[int | None]
    verdict: Mapped[str] = mapped_column(default="")  # ok, defect, undecided; empty: none
    score: Mapped[float | None]
    threshold: Mapped[float | None]
    regions: Mapped[Any] = mapped_column(JSON, default=list)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    bank: Mapped[str] = mapped_column(default="")  # SHA-256 of the bank that judged
    said: Mapped[str] = mapped_column(default="")  # a person's last word: defect, good, unsure
    judged_by: Mapped[str] = mapped_column(default="")  # federated, own, hybrid
    milliseconds: Mapped[float | None]  # decode to verdict
    waited: Mapped[float | None]  # milliseconds from taken in to verdict
    uncovered: Mapped[float | None]  # share of patches that the bank does not cover
    sharpness: Mapped[float | None]
    brightness: Mapped[float | None]
    geometry: Mapped[str] = mapped_column(default="")  # of the square that was judged: full:224
    patches: Mapped[bytes | None] = mapped_column(LargeBinary)  # scores, as `scores_of` reads them
    why: Mapped[Any] = mapped_column(JSON, default=list)  # per region, the nearest good patch
    own: Mapped[str] = mapped_column(server_default="", default="")  # of the own bank beside
    threshold_by: Mapped[str] = mapped_column(server_default="", default="")  # of `Chosen.name`
    watched: Mapped[int] = mapped_column(server_default="0", default=0)  # 1: the watch took it
    drawn: Mapped[int] = mapped_column(server_default="0", default=0)  # by which `Draw`; 0: by none


class Seen(Base):
    """A file in the watched folder that was taken in, as it was then, by the mark of its name."""

    __tablename__ = "seen"

    source: Mapped[str] = mapped_column(primary_key=True)
    stamp: Mapped[str]


class Word(Base):
    """What a person says of a stopped part."""

    __tablename__ = "word"

    id: Mapped[int] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspection.id"), index=True)
    at: Mapped[int]
    who: Mapped[str]
    says: Mapped[str]  # defect, good, unsure; empty: the word before is taken back
    note: Mapped[str] = mapped_column(default="")


class Draw(Base):
    """A shift that has ended, and of whose passed parts some were drawn by lot."""

    __tablename__ = "draw"

    id: Mapped[int] = mapped_column(primary_key=True)
    begun_at: Mapped[int]
    ended_at: Mapped[int]
    passed: Mapped[int]  # parts
    taken: Mapped[int]  # of these


class Taught(Base):
    """A good part that a person put into the site's training folder."""

    __tablename__ = "taught"

    id: Mapped[int] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(index=True)
    at: Mapped[int]
    who: Mapped[str]
    why: Mapped[str]
    file: Mapped[str]
    undone_at: Mapped[int | None]
    undone_by: Mapped[str] = mapped_column(default="")


class BankUse(Base):
    """Which banks judged from when on."""

    __tablename__ = "bank_use"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str]
    own: Mapped[str] = mapped_column(default="")  # digest of the own bank beside it
    judged_by: Mapped[str]
    since: Mapped[int]
    who: Mapped[str]
    version: Mapped[str] = mapped_column(default="")  # as the control room numbers it


class Outgoing(Base):
    """Something that a verdict sends out, until it has arrived."""

    __tablename__ = "outgoing"
    __table_args__ = (Index(None, "next_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(index=True)
    kind: Mapped[str]  # files, webhook, mqtt
    next_at: Mapped[int]
    tries: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")


class Alarm(Base):
    """The station says that something is not as it was."""

    __tablename__ = "alarm"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str]
    kind: Mapped[str]
    cause: Mapped[str]
    begun_at: Mapped[int]
    first_id: Mapped[int]  # the image at which it was told
    told: Mapped[Any] = mapped_column(JSON, default=dict)
    ended_at: Mapped[int | None]
    ended_by: Mapped[str] = mapped_column(default="")
    watch_id: Mapped[int] = mapped_column(server_default="0", default=0)
    ended_how: Mapped[str] = mapped_column(server_default="", default="")  # mended, usual
    note: Mapped[str] = mapped_column(server_default="", default="")
    reported: Mapped[int] = mapped_column(server_default="0", default=0)  # 1: to the control room


class WatchRow(Base):
    """The watch over one product, one bank and one threshold."""

    __tablename__ = "watch"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(index=True)
    bank: Mapped[str]
    own: Mapped[str]
    judged_by: Mapped[str]
    threshold: Mapped[float | None]
    begun_at: Mapped[int]
    ended_at: Mapped[int | None]
    parts: Mapped[int]
    state: Mapped[Any] = mapped_column(JSON)  # of `fedpatchcore.drift.watch.Watch`


class WayBack(Base):
    """A person went back to the bank before."""

    __tablename__ = "way_back"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str]  # that judges since
    own: Mapped[str]
    left_digest: Mapped[str]  # that was left
    left_own: Mapped[str]
    at: Mapped[int]
    who: Mapped[str]
    why: Mapped[str]
    ended_at: Mapped[int | None]
    ended_by: Mapped[str] = mapped_column(default="")


class Chosen(Base):
    """A threshold that a person took in place of the bank's, for one product and one bank.

    The last one that is not ended decides; where it ends, the one before it does, or the bank's.
    """

    __tablename__ = "chosen_threshold"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(index=True)
    bank: Mapped[str]
    own: Mapped[str]
    judged_by: Mapped[str]
    value: Mapped[float]
    before: Mapped[float]  # that decided until then
    at: Mapped[int]
    who: Mapped[str]
    why: Mapped[str]
    told: Mapped[Any] = mapped_column(JSON)  # the proposal that was taken
    ended_at: Mapped[int | None]
    ended_by: Mapped[str] = mapped_column(default="")

    @property
    def name(self) -> str:
        """As results tell by which threshold they were judged; empty there: the bank's own."""
        return f"person:{self.id}"
