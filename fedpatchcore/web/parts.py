"""What all pages stand on beside their own subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from starlette.requests import Request

from fedpatchcore.web.audit import Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.people import Caller, People
from fedpatchcore.web.render import Look
from fedpatchcore.web.roles import Roles

__all__ = ["Parts", "parts_of"]


@dataclass(frozen=True)
class Parts:
    """One place's data base, people, roles and look; in ``app.state.parts``.

    Attributes:
        version: another number whenever pages should load their live parts again.
        tls: pages come over TLS, so that cookies may insist on it.
        certified: whoever reaches the port has shown a certificate, and may without a key what
            this role may; empty: keys alone count.
        beside: who else is known, by a request without a key or a log-in.
        beside_people: what else the page of people and keys shows of this place.
        answered: told the status of each answer, and the seconds until its head was there.
    """

    database: Database
    trail: Trail
    people: People
    roles: Roles
    look: Look
    version: Callable[[], int]
    tls: bool = False
    certified: str = ""
    beside: Callable[[Request], Caller | None] = lambda request: None
    beside_people: Callable[[Session], Mapping[str, Any]] = lambda session: {}
    answered: Callable[[int, float], None] = lambda status, seconds: None


def parts_of(request: Request) -> Parts:
    """The parts of the application that is asked."""
    return request.app.state.parts
