"""The tables of the control room's data base. Moments are milliseconds since 1970, UTC.

Runs, sites and banks are mirrored from the results folder and can be made again from it; releases
and what sites say they judge by are here alone, as are people and the trail (`fedpatchcore.web`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fedpatchcore.web.tables import NAMES, NUMBERS

__all__ = [
    "Alarm",
    "Alias",
    "BankVersion",
    "Base",
    "Judging",
    "Note",
    "Preset",
    "ProductRule",
    "Release",
    "RemovedBank",
    "Run",
    "RunDetail",
    "Schedule",
    "Screen",
    "Site",
    "TrackedRun",
]


class Base(DeclarativeBase):
    """What all tables have in common."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = NUMBERS


class Run(Base):
    """One run folder; a folder whose name is used again is another run, by its identity."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("folder", "identity"),
        Index(None, "begun_at"),
        Index(None, "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str]
    identity: Mapped[str] = mapped_column(default="")
    flower: Mapped[str] = mapped_column(default="")  # Flower's id, which stopping takes
    origin: Mapped[str] = mapped_column(default="")  # who started it; empty: the command line
    state: Mapped[str]  # submitted, running, finished, failed, unreadable
    headline: Mapped[str] = mapped_column(default="")
    begun_at: Mapped[int]
    told_at: Mapped[int]  # of its last event
    round: Mapped[int] = mapped_column(default=0)
    rounds: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    sites: Mapped[int] = mapped_column(default=0)
    wrong: Mapped[int] = mapped_column(default=0)  # sites lost or refused
    megabytes: Mapped[float] = mapped_column(default=0.0)  # that sites sent, 10^6 bytes
    auroc: Mapped[float | None]
    found: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))  # [defects found, defects]
    stopped: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))  # [good stopped, good]
    stamp: Mapped[str] = mapped_column(default="")  # of events.jsonl when it was last read


class RunDetail(Base):
    """What only the page of a run needs."""

    __tablename__ = "run_detail"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    settings: Mapped[Any] = mapped_column(JSON)
    table: Mapped[Any] = mapped_column(JSON)  # a row a site
    results: Mapped[Any] = mapped_column(JSON)  # rows of the result table
    notes: Mapped[Any] = mapped_column(JSON)


class Site(Base):
    """A site as its last roll call told, and what it says that it judges by."""

    __tablename__ = "site"

    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[int]
    called_at: Mapped[int] = mapped_column(default=0)  # of its last roll call
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    state: Mapped[str] = mapped_column(default="")  # in that run
    products: Mapped[Any] = mapped_column(JSON)
    images: Mapped[int | None]
    device: Mapped[str] = mapped_column(default="")
    library: Mapped[str] = mapped_column(default="")
    judges: Mapped[Any] = mapped_column(JSON)  # {product: version}


class BankVersion(Base):
    """One bank that a run made, with where it comes from."""

    __tablename__ = "bank_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), index=True)
    digest: Mapped[str] = mapped_column(index=True)  # SHA-256 of the file
    size: Mapped[int]
    made_at: Mapped[int]
    round: Mapped[int]
    library: Mapped[str]
    fingerprint: Mapped[str]
    aggregation: Mapped[str]
    mechanism: Mapped[str]
    sites: Mapped[Any] = mapped_column(JSON)
    sections: Mapped[Any] = mapped_column(JSON)  # {product: {rows, images, rows_by_site}}
    results: Mapped[Any] = mapped_column(JSON)  # rows of the result table


class Alias(Base):
    """The version that a product's ``candidate`` or ``production`` names."""

    __tablename__ = "alias"

    product: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("bank_version.id"))


class Release(Base):
    """A version in production for a product, from when to when, and by whom."""

    __tablename__ = "release"
    __table_args__ = (Index(None, "product", "since"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str]
    version_id: Mapped[int] = mapped_column(ForeignKey("bank_version.id"))
    since: Mapped[int]
    until: Mapped[int | None]
    who: Mapped[str]
    note: Mapped[str]
    gates: Mapped[Any] = mapped_column(JSON)


class Judging(Base):
    """A site's word: from this moment on it judges a product by this version."""

    __tablename__ = "judging"
    __table_args__ = (Index(None, "site", "product", "since"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str]
    product: Mapped[str]
    version_id: Mapped[int] = mapped_column(ForeignKey("bank_version.id"))
    since: Mapped[int]


class Note(Base):
    """A person's words on a version."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("bank_version.id"), index=True)
    at: Mapped[int]
    who: Mapped[str]
    text: Mapped[str]


class Preset(Base):
    """Settings of a run under a name, as they differ from the defaults."""

    __tablename__ = "preset"

    name: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[Any] = mapped_column(JSON)
    made_at: Mapped[int]
    who: Mapped[str]


class Screen(Base):
    """A wall screen: a browser without a person that may look and nothing else."""

    __tablename__ = "screen"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)  # of its link, and of its cookie once opened
    name: Mapped[str]
    made_at: Mapped[int]
    opened_at: Mapped[int | None]
    ends_at: Mapped[int]
    who: Mapped[str]


class Schedule(Base):
    """Runs that start by themselves: at times, or when sites report so many new images."""

    __tablename__ = "schedule"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    settings: Mapped[Any] = mapped_column(JSON)
    cron: Mapped[str]  # five fields, UTC; empty: by images alone
    images: Mapped[int]  # new ones that start it; 0: by time alone
    who: Mapped[str]
    made_at: Mapped[int]
    next_at: Mapped[int | None]  # when it is due; None: it waits for images, or has ended
    last_at: Mapped[int | None]
    last: Mapped[str] = mapped_column(default="")  # what came of it
    seen_images: Mapped[int]  # of all sites when it last started a run
    ended_at: Mapped[int | None]


class Alarm(Base):
    """A site's word that something needs a person there, until a person here has seen to it."""

    __tablename__ = "alarm"

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str]
    product: Mapped[str]
    kind: Mapped[str]  # drift, ...
    words: Mapped[str]
    at: Mapped[int]  # when it was last said
    times: Mapped[int] = mapped_column(default=1)
    seen_at: Mapped[int | None] = mapped_column(index=True)
    seen_by: Mapped[str] = mapped_column(default="")


class ProductRule(Base):
    """Whether a product's bank is released by itself when all its gates are passed."""

    __tablename__ = "product_rule"

    product: Mapped[str] = mapped_column(primary_key=True)
    automatic: Mapped[bool]


class RemovedBank(Base):
    """A version whose bytes were removed; what it was stays."""

    __tablename__ = "removed_bank"

    version_id: Mapped[int] = mapped_column(ForeignKey("bank_version.id"), primary_key=True)
    at: Mapped[int]
    who: Mapped[str]
    why: Mapped[str]


class TrackedRun(Base):
    """A run that was logged to an MLflow server, with its id there."""

    __tablename__ = "tracked_run"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    at: Mapped[int]
    mlflow: Mapped[str]
