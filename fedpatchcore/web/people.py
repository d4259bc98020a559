"""People and programs: users, one-time links, log-ins, keys; who stands behind a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import DAY, now
from fedpatchcore.web.passwords import (
    Attempts,
    check_name,
    check_password,
    digest,
    fits,
    hashed,
    new_key,
)
from fedpatchcore.web.tables import Invite, Login, Token, User

__all__ = ["DAY", "LINK_LASTS", "LONGEST_TOKEN_DAYS", "Caller", "People", "TooMany"]

MINUTE = 60_000
LINK_LASTS = DAY
IDLE = 30 * MINUTE
LONGEST_LOGIN = DAY // 2
LONGEST_TOKEN_DAYS = 366
SEEN_EVERY = MINUTE
MOST_LOGINS = 20  # browsers of one person at a time


class TooMany(ControlError):
    """Too many failed log-ins; it is tried again later."""

    status = 429


@dataclass(frozen=True)
class Caller:
    """Who stands behind a request.

    Attributes:
        csrf: of the browser's log-in; empty for a program with a key.
        site: the site that a key speaks for; empty: none.
    """

    name: str
    role: str
    csrf: str = ""
    site: str = ""
    login: str = ""


class People:
    """Everything about who may come in.

    Args:
        roles: names of the roles there are; the last one makes people.
        known_site: whether a site may be named, by those who speak for one.
    """

    def __init__(
        self,
        database: Database,
        trail: Trail,
        roles: Sequence[str],
        known_site: Callable[[Session, str], bool] = lambda session, site: False,
    ) -> None:
        self.database = database
        self.trail = trail
        self.roles = tuple(roles)
        self.known_site = known_site
        self.attempts = Attempts()
        self.addresses = Attempts(most=20)

    # -- users and links --------------------------------------------------------------

    def nobody_yet(self) -> bool:
        """True until there is an admin who can log in."""
        with self.database.read() as session:
            return not self._admins(session)

    def _admins(self, session: Session) -> int:
        mine = (User.role == "admin") & User.ended_at.is_(None)
        return session.scalar(select(func.count()).select_from(User).where(mine)) or 0

    def invite(self, actor: Actor, name: str, role: str, site: str = "") -> str:
        """The secret of a one-time link with which a person sets a password. Raises ControlError.

        For a name that exists it is a new password, and the role is as it was.
        """
        self._check_role(role)
        if name:
            check_name(name)
        key, ends = new_key(), now() + LINK_LASTS
        with self.database.write() as session:
            self._check_site(session, role, site)
            session.add(Invite(digest=digest(key), name=name, role=role, site=site, ends_at=ends))
            after = {"role": role, "site": site}
            self.trail.add(session, actor, "person.invited", name or "(anyone)", after=after)
        self.trail.note_head()
        return key

    def invited(self, secret: str) -> Invite:
        """What a link is for. Raises ControlError if it is used, over or none of ours."""
        with self.database.read() as session:
            return self._invite(session, secret)

    def _invite(self, session: Session, secret: str) -> Invite:
        invite = session.get(Invite, digest(secret))
        if invite is None or invite.used_at is not None or invite.ends_at < now():
            raise ControlError("this link was used, or is over: ask for another")
        return invite

    def join(self, secret: str, name: str, password: str, address: str) -> None:
        """Set a password with a one-time link. Raises ControlError."""
        invite = self.invited(secret)
        name = check_name(invite.name or name.strip())
        kept = hashed(check_password(password, name))
        with self.database.write() as session:
            invite = self._invite(session, secret)
            user = session.scalars(select(User).where(User.name == name)).first()
            if user is not None and not invite.name:
                raise ControlError(f"there is a user {name!r} already: take another name")
            if user is None:
                user = User(name=name, password=kept, role=invite.role, site=invite.site)
                user.made_at = now()
                session.add(user)
                session.flush()
            else:
                user.password, user.ended_at = kept, None
                session.execute(delete(Login).where(Login.user_id == user.id))
            invite.used_at = now()
            actor = Actor(name, address)
            self.trail.add(session, actor, "person.joined", name, after=user.role)
        self.trail.note_head()

    def change_role(self, actor: Actor, user_id: int, role: str) -> None:
        """Give a person another role; the last admin keeps his. Raises ControlError."""
        self._check_role(role)
        with self.database.write() as session:
            user = self._user(session, user_id)
            self._check_site(session, role, user.site)
            before, user.role = user.role, role
            session.flush()
            if not self._admins(session):
                raise ControlError(f"{user.name} is the last admin: make another one first")
            self.trail.add(session, actor, "person.role", user.name, before=before, after=role)
        self.trail.note_head()

    def end(self, actor: Actor, user_id: int) -> None:
        """A person leaves: no log-in any more, the name stays in the trail. Raises ControlError."""
        with self.database.write() as session:
            user = self._user(session, user_id)
            user.ended_at = now()
            session.flush()
            if not self._admins(session):
                raise ControlError(f"{user.name} is the last admin: make another one first")
            session.execute(delete(Login).where(Login.user_id == user.id))
            self.trail.add(session, actor, "person.ended", user.name, before=user.role)
        self.trail.note_head()

    def _user(self, session: Session, user_id: int) -> User:
        user = session.get(User, user_id)
        if user is None or user.ended_at is not None:
            raise ControlError(f"there is no user {user_id}")
        return user

    # -- log-ins ----------------------------------------------------------------------

    def log_in(self, name: str, password: str, address: str) -> str:
        """The key of a new log-in. Raises ControlError; TooMany after a few that failed."""
        wait = max(self.attempts.wait(name), self.addresses.wait(address))
        if wait:
            raise TooMany(f"too many failed log-ins: try again in {wait / 60:.0f} minutes")
        with self.database.read() as session:
            mine = (User.name == name) & User.ended_at.is_(None)
            user = session.scalars(select(User).where(mine)).first()
        actor = Actor(name, address)
        if not fits(password, user.password if user else None) or user is None:
            self.attempts.failed(name)
            self.addresses.failed(address)
            with self.database.write() as session:
                self.trail.add(session, actor, "login.failed", name)
            self.trail.note_head()
            raise ControlError("name or password is wrong")
        self.attempts.succeeded(name)
        key, at = new_key(), now()
        with self.database.write() as session:
            old = select(Login.digest).where(Login.user_id == user.id)
            old = old.order_by(Login.made_at.desc()).offset(MOST_LOGINS - 1)
            session.execute(delete(Login).where(Login.digest.in_(list(session.scalars(old)))))
            session.execute(delete(Login).where(Login.made_at < at - LONGEST_LOGIN))
            session.add(
                Login(
                    digest=digest(key),
                    user_id=user.id,
                    csrf=new_key(),
                    made_at=at,
                    seen_at=at,
                    address=address,
                )
            )
            self.trail.add(session, actor, "login", name)
        self.trail.note_head()
        return key

    def log_out(self, caller: Caller, address: str) -> None:
        """End a log-in."""
        with self.database.write() as session:
            session.execute(delete(Login).where(Login.digest == caller.login))
            self.trail.add(session, Actor(caller.name, address), "logout", caller.name)
        self.trail.note_head()

    def of_cookie(self, key: str, *, used: bool = True) -> Caller | None:
        """Who is logged in with this cookie; None if nobody is, any more.

        Args:
            used: a page that refreshes itself is no sign of a person, and keeps nobody logged in.
        """
        mark, at = digest(key), now()
        with self.database.read() as session:
            row = session.execute(
                select(Login.csrf, Login.made_at, Login.seen_at, User.name, User.role, User.site)
                .join(User, User.id == Login.user_id)
                .where(Login.digest == mark, User.ended_at.is_(None))
            ).first()
        if row is None or at - row.seen_at > IDLE or at - row.made_at > LONGEST_LOGIN:
            return None
        if used and at - row.seen_at > SEEN_EVERY:
            with self.database.write() as session:
                session.execute(update(Login).where(Login.digest == mark).values(seen_at=at))
        return Caller(row.name, row.role, csrf=row.csrf, site=row.site, login=mark)

    # -- keys of programs -------------------------------------------------------------

    def make_token(self, actor: Actor, name: str, role: str, site: str, days: int) -> str:
        """A key for a program, shown once. Raises ControlError."""
        self._check_role(role)
        check_name(name)
        if not 1 <= days <= LONGEST_TOKEN_DAYS:
            raise ControlError(f"a key lasts 1 to {LONGEST_TOKEN_DAYS} days")
        key = new_key()
        with self.database.write() as session:
            self._check_site(session, role, site)
            session.add(
                Token(
                    digest=digest(key),
                    name=name,
                    role=role,
                    site=site,
                    made_at=now(),
                    ends_at=now() + days * DAY,
                    who=actor.name,
                )
            )
            after = {"role": role, "site": site, "days": days}
            self.trail.add(session, actor, "key.made", name, after=after)
        self.trail.note_head()
        return key

    def end_token(self, actor: Actor, token_id: int) -> None:
        """A key opens nothing any more. Raises ControlError."""
        with self.database.write() as session:
            token = session.get(Token, token_id)
            if token is None or token.ends_at <= now():
                raise ControlError(f"there is no key {token_id}")
            token.ends_at = now()
            self.trail.add(session, actor, "key.ended", token.name)
        self.trail.note_head()

    def of_token(self, key: str) -> Caller | None:
        """The program with this key; None if it is none, or over."""
        with self.database.read() as session:
            token = session.scalars(select(Token).where(Token.digest == digest(key))).first()
        if token is None or token.ends_at <= now():
            return None
        return Caller(f"key {token.name}", token.role, site=token.site)

    # -- what may be asked for --------------------------------------------------------

    def _check_role(self, role: str) -> None:
        if role not in self.roles:
            raise ControlError(f"a role is one of {', '.join(self.roles)}")

    def _check_site(self, session: Session, role: str, site: str) -> None:
        if role == "site" and not site:
            raise ControlError("the role 'site' takes the name of a site")
        if site and not self.known_site(session, site):
            raise ControlError(f"no site {site!r} has answered a roll call here")
