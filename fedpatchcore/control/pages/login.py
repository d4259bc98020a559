"""Coming in and going out."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import caller_of, form_of, room_of
from fedpatchcore.control.guard import COOKIE, address_of
from fedpatchcore.control.refusals import Refused, status_of
from fedpatchcore.control.render import page
from fedpatchcore.errors import ControlError

__all__ = ["router"]

router = APIRouter()


@router.get("/login")
def ask(request: Request, next: str = "/") -> Response:
    """The form."""
    return page(request, "login.html.j2", next=_within(next), wrong="", name="")


@router.post("/login")
def log_in(request: Request) -> Response:
    """Name and password → a cookie."""
    form, room = form_of(request), room_of(request)
    name, target = form.text("name", 64), _within(form.text("next", 500))
    try:
        key = room.people.log_in(name, form.get("password", ""), address_of(request))
    except ControlError as error:
        wrong, status = str(error), status_of(error)
        return page(request, "login.html.j2", status, next=target, wrong=wrong, name=name)
    return _with_cookie(RedirectResponse(target, 303), key, tls=room.tls)


@router.post("/logout")
def log_out(request: Request) -> Response:
    """Forget the cookie, here and in the browser."""
    room_of(request).people.log_out(caller_of(request), address_of(request))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/join/{secret}")
def invited(request: Request, secret: str) -> Response:
    """A one-time link: the form for a password."""
    invite = room_of(request).people.invited(secret)
    return page(request, "join.html.j2", invite=invite, secret=secret, wrong="")


@router.post("/join/{secret}")
def join(request: Request, secret: str) -> Response:
    """Set the password and come in."""
    form, room = form_of(request), room_of(request)
    invite = room.people.invited(secret)
    name, password = invite.name or form.text("name", 64), form.get("password", "")
    try:
        if password != form.get("again", ""):
            raise Refused(400, "the two passwords differ")
        room.people.join(secret, name, password, address_of(request))
    except ControlError as error:
        wrong, status = str(error), status_of(error)
        return page(request, "join.html.j2", status, invite=invite, secret=secret, wrong=wrong)
    key = room.people.log_in(name, password, address_of(request))
    return _with_cookie(RedirectResponse("/", 303), key, tls=room.tls)


def _with_cookie(answer: Response, key: str, *, tls: bool) -> Response:
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=tls, path="/")
    return answer


def _within(target: str) -> str:
    """A path of ours; "/" for whatever leads elsewhere."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain and not parts.netloc and "\\" not in target else "/"
