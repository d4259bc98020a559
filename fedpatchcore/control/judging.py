"""Who judges by which bank since when: what sites say, and the question that auditors ask."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedpatchcore.control.tables import BankVersion, Judging, Release, Run, Site
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["Judged", "Words"]


@dataclass(frozen=True)
class Judged:
    """The answer to: which bank judged this product at this plant at that moment?

    Attributes:
        by: the version that the site said it uses; None if it never said.
        since: when it said so.
        released: the version that was in production then; None if there was none.
    """

    by: int | None
    digest: str
    since: int | None
    run: str
    released: int | None


class Words:
    """What sites say that they judge by; nothing of it is ever changed."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self.database = database
        self.trail = trail

    def take(self, actor: Actor, site: str, product: str, digest: str) -> int:
        """A site's word that it judges by this bank from now on; the version. ControlError."""
        with self.database.write() as session:
            mine = select(BankVersion).where(BankVersion.digest == digest)
            version = session.scalars(mine.order_by(BankVersion.id.desc()).limit(1)).first()
            if version is None or product not in version.sections:
                raise ControlError(f"no bank {digest[:12]}… with product {product!r} was made here")
            row = session.get(Site, site)
            if row is None:
                raise ControlError(f"no site {site!r} has answered a roll call here")
            before = row.judges.get(product)
            row.seen_at = now()
            if before == version.id:
                return version.id
            row.judges = row.judges | {product: version.id}
            session.add(Judging(site=site, product=product, version_id=version.id, since=now()))
            self.trail.add(
                session, actor, "site.judges", f"{site}: {product}", before=before, after=version.id
            )
        self.trail.note_head()
        return version.id

    def judged(self, session: Session, product: str, site: str, at: int) -> Judged:
        """Which bank judged a product at a plant at a moment: one query."""
        word = (
            select(Judging.version_id, Judging.since)
            .where(Judging.site == site, Judging.product == product, Judging.since <= at)
            .order_by(Judging.since.desc(), Judging.id.desc())
            .limit(1)
            .subquery()
        )
        in_force = (
            select(Release.version_id)
            .where(Release.product == product, Release.since <= at)
            .where((Release.until.is_(None)) | (Release.until > at))
            .limit(1)
            .scalar_subquery()
        )
        row = session.execute(
            select(in_force.label("released"), word.c.version_id, word.c.since, BankVersion.digest)
            .add_columns(Run.folder)
            .select_from(select(in_force.label("one")).subquery())
            .outerjoin(word, word.c.version_id.is_not(None))
            .outerjoin(BankVersion, BankVersion.id == word.c.version_id)
            .outerjoin(Run, Run.id == BankVersion.run_id)
        ).one()
        return Judged(row.version_id, row.digest or "", row.since, row.folder or "", row.released)
