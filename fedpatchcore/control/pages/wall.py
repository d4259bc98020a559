"""The page of wall screens, read from three metres, and how a browser becomes one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import actor_of, form_of, room_of, within
from fedpatchcore.control.glance import glance
from fedpatchcore.control.render import page
from fedpatchcore.control.screens import SCREEN
from fedpatchcore.web.guard import address_of
from fedpatchcore.web.pages.people import people_page

__all__ = ["router"]

router = APIRouter()


@router.get("/wall")
def wall(request: Request) -> Response:
    """What is there, large; it takes nobody who clicks."""
    return page(request, "wall.html.j2", told=glance(room_of(request)))


@router.get("/wall/{secret}")
def asked(request: Request, secret: str) -> Response:
    """A link to be opened once, on the screen itself."""
    name = room_of(request).screens.named(secret)
    return page(request, "screen.html.j2", secret=secret, name=name)


@router.post("/wall/{secret}")
def opened(request: Request, secret: str) -> Response:
    """This browser is the screen from now on."""
    room = room_of(request)
    key, lasts = room.screens.open(secret, address_of(request))
    answer = RedirectResponse("/wall", 303)
    answer.set_cookie(
        SCREEN, key, max_age=lasts, httponly=True, samesite="strict", secure=room.tls, path="/"
    )
    return answer


@router.post("/screens")
def make(request: Request) -> Response:
    """A link for a wall screen, shown once."""
    form, room = form_of(request), room_of(request)
    name = form.text("name", 64)
    secret = room.screens.make(actor_of(request), name, form.number("days"))
    what = f"The link for screen {name}, shown this once:"
    return people_page(request, f"{request.base_url}wall/{secret}", what)


@router.post("/screens/{screen_id}/end")
def end(request: Request, screen_id: int) -> Response:
    """The screen shows nothing any more."""
    room_of(request).screens.end(actor_of(request), within(screen_id))
    return RedirectResponse("/people", 303)
