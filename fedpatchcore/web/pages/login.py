"""Coming in and going out."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.errors import ControlError
from fedpatchcore.web.asked import caller_of, form_of
from fedpatchcore.web.guard import COOKIE, address_of
from fedpatchcore.web.parts import parts_of
from fedpatchcore.web.refusals import Refused, status_of

__all__ = ["router"]

router = APIRouter()


def _page(request: Request, template: str, status: int = 200, **values: object) -> Response:
    return parts_of(request).look.page(request, template, status, **values)


@router.get("/login")
def ask(request: Request, next: str = "/") -> Response:
    """The form."""
    return parts_of(request).look.page(
        request, "login.html.j2", next=_within(next), wrong="", name=""
    )


@router.post("/login")
def log_in(request: Request) -> Response:
    """Name and password → a cookie."""
    form, parts = form_of(request), parts_of(request)
    name, target = form.text("name", 64), _within(form.text("next", 500))
    try:
        key = parts.people.log_in(name, form.get("password", ""), address_of(request))
    except ControlError as error:
        wrong, status = str(error), status_of(error)
        return parts_of(request).look.page(
            request, "login.html.j2", status, next=target, wrong=wrong, name=name
        )
    return _with_cookie(RedirectResponse(target, 303), key, tls=parts.tls)


@router.post("/logout")
def log_out(request: Request) -> Response:
    """Forget the cookie, here and in the browser."""
    parts_of(request).people.log_out(caller_of(request), address_of(request))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/join/{secret}")
def invited(request: Request, secret: str) -> Response:
    """A one-time link: the form for a password."""
    invite = parts_of(request).people.invited(secret)
    return parts_of(request).look.page(
        request, "join.html.j2", invite=invite, secret=secret, wrong=""
    )


@router.post("/join/{secret}")
def join(request: Request, secret: str) -> Response:
    """Set the password and come in."""
    form, parts = form_of(request), parts_of(request)
    invite = parts.people.invited(secret)
    name, password = invite.name or form.text("name", 64), form.get("password", "")
    try:
        if password != form.get("again", ""):
            raise Refused(400, "the two passwords differ")
        parts.people.join(secret, name, password, address_of(request))
    except ControlError as error:
        wrong, status = str(error), status_of(error)
        return parts_of(request).look.page(
            request, "join.html.j2", status, invite=invite, secret=secret, wrong=wrong
        )
    key = parts.people.log_in(name, password, address_of(request))
    return _with_cookie(RedirectResponse("/", 303), key, tls=parts.tls)


def _with_cookie(answer: Response, key: str, *, tls: bool) -> Response:
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=tls, path="/")
    return answer


def _within(target: str) -> str:
    """A path of ours; "/" for whatever leads elsewhere."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain and not parts.netloc and "\\" not in target else "/"
