"""Removing a bank's bytes, which takes nothing that an audit needs.

What was ever in production, or what a site ever said that it judges by, stays for good; so do the
records of all versions. What waits for a release stays until another one waits.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedpatchcore.control.registry import Registry
from fedpatchcore.control.tables import Alias, BankVersion, Judging, Release, RemovedBank
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now

__all__ = ["remove", "why_kept"]


def why_kept(session: Session, version_id: int) -> str:
    """Why a version's bytes must stay; empty if they need not. One query."""

    def first(table: type, column: str):
        found = select(getattr(table, column)).where(table.version_id == version_id)
        return found.order_by(getattr(table, column)).limit(1).scalar_subquery()

    told = session.execute(
        select(
            first(Release, "product").label("released"),
            first(Judging, "site").label("judged"),
            first(Alias, "product").label("alias"),
            first(RemovedBank, "who").label("removed"),
        )
    ).one()
    if told.removed is not None:
        return f"its bytes were removed by {told.removed} already"
    if told.released is not None:
        return f"it was in production for {told.released}, and an audit may ask for it"
    if told.judged is not None:
        return f"{told.judged} judged by it, and an audit may ask for it"
    return f"it waits for a release for {told.alias}" if told.alias is not None else ""


def remove(registry: Registry, actor: Actor, version_id: int, why: str) -> None:
    """Remove a version's bytes; its record stays. Raises ControlError where they must stay."""
    if not why:
        raise ControlError("say why it is removed")
    with registry.database.write() as session:
        version = session.get(BankVersion, version_id)
        if version is None:
            raise ControlError(f"there is no bank {version_id}")
        if kept := why_kept(session, version_id):
            raise ControlError(f"bank {version_id} stays: {kept}")
        session.add(RemovedBank(version_id=version_id, at=now(), who=actor.name, why=why))
        session.flush()
        gone = select(RemovedBank.version_id)
        same = select(BankVersion.id).where(BankVersion.digest == version.digest)
        shared = session.scalar(same.where(BankVersion.id.not_in(gone)).limit(1)) is not None
        what = f"bank {version_id}"
        registry.trail.add(session, actor, "bank.removed", what, before=version.digest, after=why)
    registry.trail.note_head()
    if not shared:  # the record first: bytes without one would be nobody's
        registry.file(version.digest).unlink(missing_ok=True)
