"""Wall screens: browsers without a person, that follow one page for months and may do nothing.

An admin makes a link; opened once, within a day, it makes that browser the screen. A log-in of a
person ends after half an hour without one; a screen's ends at its date, or when an admin ends it.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request

from fedpatchcore.control.roles import WALL
from fedpatchcore.control.tables import Screen
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now
from fedpatchcore.web.passwords import check_name, digest, new_key
from fedpatchcore.web.people import DAY, LINK_LASTS, LONGEST_TOKEN_DAYS, Caller

__all__ = ["SCREEN", "Screens"]

SCREEN = "fedpatchcore-screen"  # the cookie


class Screens:
    """The wall screens of one room."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self.database = database
        self.trail = trail

    def make(self, actor: Actor, name: str, days: int) -> str:
        """The secret of the link that makes a browser this screen. Raises ControlError."""
        check_name(name)
        if not 1 <= days <= LONGEST_TOKEN_DAYS:
            raise ControlError(f"a wall screen lasts 1 to {LONGEST_TOKEN_DAYS} days")
        secret, at = new_key(), now()
        with self.database.write() as session:
            session.add(
                Screen(
                    digest=digest(secret),
                    name=name,
                    made_at=at,
                    ends_at=at + days * DAY,
                    who=actor.name,
                )
            )
            self.trail.add(session, actor, "screen.made", name, after={"days": days})
        self.trail.note_head()
        return secret

    def named(self, secret: str) -> str:
        """The name of the screen that a link makes. Raises ControlError if it was opened."""
        with self.database.read() as session:
            return self._link(session, secret).name

    def open(self, secret: str, address: str) -> tuple[str, int]:
        """The cookie of the browser that is the screen now, and the seconds it lasts."""
        key = new_key()
        with self.database.write() as session:
            screen = self._link(session, secret)
            screen.digest, screen.opened_at = digest(key), now()
            self.trail.add(session, Actor(f"wall {screen.name}", address), "screen.opened", "")
            lasts = (screen.ends_at - now()) // 1000
        self.trail.note_head()
        return key, lasts

    def _link(self, session: Session, secret: str) -> Screen:
        found = session.scalars(select(Screen).where(Screen.digest == digest(secret))).first()
        over = found is None or found.opened_at is not None
        if over or now() > min(found.made_at + LINK_LASTS, found.ends_at):
            raise ControlError("this link was used, or is over: ask for another")
        return found

    def end(self, actor: Actor, screen_id: int) -> None:
        """The screen shows nothing any more. Raises ControlError."""
        with self.database.write() as session:
            screen = session.get(Screen, screen_id)
            if screen is None or screen.ends_at <= now():
                raise ControlError(f"there is no wall screen {screen_id}")
            screen.ends_at = now()
            self.trail.add(session, actor, "screen.ended", screen.name)
        self.trail.note_head()

    def behind(self, request: Request) -> Caller | None:
        """The screen that a request comes from, if it does."""
        cookie = request.cookies.get(SCREEN)
        return self.of_cookie(cookie) if cookie else None

    def of_cookie(self, key: str) -> Caller | None:
        """The screen with this cookie; None if it is none, or over."""
        with self.database.read() as session:
            screen = session.scalars(select(Screen).where(Screen.digest == digest(key))).first()
        if screen is None or screen.opened_at is None or screen.ends_at <= now():
            return None
        return Caller(f"wall {screen.name}", WALL)
