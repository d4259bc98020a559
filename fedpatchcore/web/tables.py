"""The tables that every data base with pages has: people, their log-ins, keys, and the trail.

Moments are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, ForeignKey, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["NAMES", "NUMBERS", "Audit", "Base", "Invite", "Login", "Token", "User"]

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
NUMBERS = {int: BigInteger().with_variant(Integer, "sqlite")}


class Base(DeclarativeBase):
    """What these tables have in common."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = NUMBERS


class User(Base):
    """A person; one that left keeps the name in the trail and can't log in."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]  # Argon2id
    role: Mapped[str]
    site: Mapped[str] = mapped_column(default="")  # whose people it is of; empty: of no one site's
    made_at: Mapped[int]
    ended_at: Mapped[int | None]


class Invite(Base):
    """A one-time link with which a person sets a password."""

    __tablename__ = "invite"

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]  # empty: the person chooses it
    role: Mapped[str]
    site: Mapped[str] = mapped_column(default="")
    ends_at: Mapped[int]
    used_at: Mapped[int | None]


class Login(Base):
    """A browser that is logged in; its cookie is kept as a digest alone."""

    __tablename__ = "login"

    digest: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    csrf: Mapped[str]
    made_at: Mapped[int]
    seen_at: Mapped[int]
    address: Mapped[str]


class Token(Base):
    """A key for programs, with a role and an end; kept as a digest alone."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    role: Mapped[str]
    site: Mapped[str]  # a site's own key speaks for that site alone; empty: for none
    made_at: Mapped[int]
    ends_at: Mapped[int]
    who: Mapped[str]


class Audit(Base):
    """A line of the trail (`fedpatchcore.web.audit`)."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    record: Mapped[str]  # JSON, which names the digest of the record before it
    digest: Mapped[str]
