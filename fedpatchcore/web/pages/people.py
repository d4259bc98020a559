"""People and keys: who may come in, and as what."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.web.asked import actor_of, form_of, within
from fedpatchcore.web.moments import now
from fedpatchcore.web.parts import parts_of
from fedpatchcore.web.tables import Token, User

__all__ = ["people_page", "router"]

router = APIRouter()


def people_page(request: Request, made: str = "", what: str = "", name: str = "") -> Response:
    """All users and keys; ``made``: what is shown this once, ``what``: link or key."""
    parts = parts_of(request)
    with parts.database.read() as session:
        users = list(session.scalars(select(User).order_by(User.name)))
        tokens = list(session.scalars(select(Token).where(Token.ends_at > now())))
        more = parts.beside_people(session)
    return parts.look.page(
        request,
        "people.html.j2",
        users=users,
        tokens=tokens,
        roles=parts.roles.names,
        made=made,
        what=what,
        name=name,
        **more,
    )


@router.get("/people")
def people(request: Request) -> Response:
    """All users and keys."""
    return people_page(request)


@router.post("/people/invite")
def invite(request: Request) -> Response:
    """A one-time link, shown once."""
    form, people = form_of(request), parts_of(request).people
    name, role, site = form.text("name", 64), form.text("role", 20), form.text("site", 300)
    secret = people.invite(actor_of(request), name, role, site)
    return people_page(request, f"{request.base_url}join/{secret}", "link", name)


@router.post("/people/{user_id}/role")
def role(request: Request, user_id: int) -> Response:
    """Another role."""
    people, told = parts_of(request).people, form_of(request).text("role", 20)
    people.change_role(actor_of(request), within(user_id), told)
    return RedirectResponse("/people", 303)


@router.post("/people/{user_id}/end")
def end(request: Request, user_id: int) -> Response:
    """A person leaves."""
    parts_of(request).people.end(actor_of(request), within(user_id))
    return RedirectResponse("/people", 303)


@router.post("/tokens")
def make_token(request: Request) -> Response:
    """A key for a program, shown once."""
    form, people = form_of(request), parts_of(request).people
    name, role, site = form.text("name", 64), form.text("role", 20), form.text("site", 300)
    key = people.make_token(actor_of(request), name, role, site, form.number("days"))
    return people_page(request, key, "key", name)


@router.post("/tokens/{token_id}/end")
def end_token(request: Request, token_id: int) -> Response:
    """A key opens nothing any more."""
    parts_of(request).people.end_token(actor_of(request), within(token_id))
    return RedirectResponse("/people", 303)
