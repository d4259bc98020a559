"""Alarms of sites: a drift, a camera that moved; told until a person here has seen to it."""

from __future__ import annotations

from sqlalchemy import func, select

from fedpatchcore.control.tables import Alarm, Site
from fedpatchcore.errors import ControlError
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["Alarms"]

OPEN_AT_ONCE = 200  # of one site
WORDS = 300  # characters


class Alarms:
    """What sites raised."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self.database = database
        self.trail = trail

    def take(self, actor: Actor, site: str, product: str, kind: str, words: str) -> int:
        """A site's alarm; its number. The same again is counted, not listed twice. ControlError."""
        words = one_line(words, WORDS)
        if not is_name(kind, 40) or not words:
            raise ControlError("an alarm has a kind (drift, …) and words")
        if product and not is_name(product):
            raise ControlError("product: a plain name")
        with self.database.write() as session:
            if session.get(Site, site) is None:
                raise ControlError(f"no site {site!r} has answered a roll call here")
            mine = (Alarm.site == site) & Alarm.seen_at.is_(None)
            same = mine & (Alarm.product == product) & (Alarm.kind == kind)
            found = session.scalars(select(Alarm).where(same)).first()
            if found is not None:
                found.words, found.at, found.times = words, now(), found.times + 1
                return found.id
            if session.scalar(select(func.count()).select_from(Alarm).where(mine)) >= OPEN_AT_ONCE:
                raise ControlError(f"{site} has {OPEN_AT_ONCE} alarms that nobody has seen to")
            found = Alarm(site=site, product=product, kind=kind, words=words, at=now())
            session.add(found)
            session.flush()
            self.trail.add(session, actor, "alarm.raised", f"{site}: {product}", after=words)
        self.trail.note_head()
        return found.id

    def seen(self, actor: Actor, alarm_id: int) -> None:
        """A person has seen to it. Raises ControlError."""
        with self.database.write() as session:
            found = session.get(Alarm, alarm_id)
            if found is None or found.seen_at is not None:
                raise ControlError(f"there is no open alarm {alarm_id}")
            found.seen_at, found.seen_by = now(), actor.name
            what = f"{found.site}: {found.product}"
            self.trail.add(session, actor, "alarm.seen", what, before=found.words)
        self.trail.note_head()
