"""Every request passes here before anything looks at it: who asks, and may this role do that?"""

from __future__ import annotations

import hmac
from urllib.parse import quote, unquote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from fedpatchcore.web.forms import check_text, read_body
from fedpatchcore.web.parts import parts_of
from fedpatchcore.web.people import Caller
from fedpatchcore.web.refusals import Refused
from fedpatchcore.web.roles import PUBLIC

__all__ = ["CERTIFICATE", "COOKIE", "LogInFirst", "address_of", "caller_behind", "guard"]

COOKIE = "fedpatchcore"
CERTIFICATE = "certificate"  # the name of whoever has shown one, and nothing else
LIVE = "x-live"  # a page that refreshes itself says so: it keeps nobody logged in


class LogInFirst(Refused):
    """Nobody is logged in; a page leads to the log-in."""

    def __init__(self, target: str) -> None:
        super().__init__(401, "log in first")
        self.target = f"/login?next={quote(target)}"


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


async def guard(request: Request) -> None:
    """The dependency of all routes; leaves ``caller`` and ``form`` in the request's state.

    Raises:
        Refused: 401 nobody is logged in; 403 the role may not, the route has no line in the table,
            or the form comes from another site.
    """
    parts, route = parts_of(request), request.scope["route"]
    least = parts.roles.needed(request.method, route.path)
    if least is None:
        raise Refused(403, "nobody may do this")
    request.state.form = None
    check_text(request.url.path + unquote(request.url.query))
    if request.method == "POST":
        _same_site(request)
        if (request.method, route.path) not in parts.roles.bodies:
            request.state.form = await read_body(request)
    caller = await run_in_threadpool(caller_behind, request)
    request.state.caller = caller
    if least == PUBLIC:
        return
    if caller is None:
        raise LogInFirst(request.url.path if request.method == "GET" else "/")
    if not parts.roles.allows(caller.role, least):
        raise Refused(403, f"this takes the role '{least}', {caller.name} has '{caller.role}'")
    if request.method == "POST" and caller.login:
        told = (request.state.form or {}).pop("csrf", "") or request.headers.get("x-csrf", "")
        if not hmac.compare_digest(told.encode(), caller.csrf.encode()):
            raise Refused(403, "this form is out of date: load the page again")


def caller_behind(request: Request, *, used: bool = True) -> Caller | None:
    """Whom a request's key, cookie or certificate names; None: nobody.

    Args:
        used: it is a person's act, who stays logged in by it.
    """
    parts = parts_of(request)
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return parts.people.of_token(key.strip())
    if cookie := request.cookies.get(COOKIE):
        found = parts.people.of_cookie(cookie, used=used and LIVE not in request.headers)
        if found is not None:
            return found
    if (found := parts.beside(request)) is not None:
        return found
    return Caller(CERTIFICATE, parts.certified) if parts.certified and not cookie else None


def _same_site(request: Request) -> None:
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refused(403, "this request comes from another site's page")
