"""Every route times every role: the table decides, and a route that it lacks is nobody's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute

from fedpatchcore.control.app import application
from fedpatchcore.control.pages import PAGES
from fedpatchcore.control.roles import ANYONE, PUBLIC, ROLES, ROUTES, WALL, allows
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.screens import SCREEN
from fedpatchcore.web.pages import live
from tests.support.control import add_run, browser, logged_in, program


def routes() -> list[tuple[str, str]]:
    found = [route for router in PAGES for route in router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    return [(method, route.path) for route in found for method in route.methods]


def test_the_table_names_every_route_there_is_and_no_other(room: Room) -> None:
    found, app = routes(), application(room)
    assert len(found) == len(set(found)) > 30
    assert set(found) == set(ROUTES)
    told = app.openapi()["paths"]
    assert {(method.upper(), path) for path in told for method in told[path]} == set(found)
    assert len(app.routes) == len(PAGES)  # and nothing is mounted beside them
    assert set(ROUTES.values()) <= {PUBLIC, ANYONE, WALL, *ROLES}


def _filled(found: re.Match) -> str:
    """Of what is there, but for the key that the caller comes with."""
    if found[1] == "secret":
        return "none"
    return "9" if found[1] == "token_id" else "1" if found[1].endswith("id") else "x"


@pytest.fixture
def finite(monkeypatch: pytest.MonkeyPatch) -> None:
    async def once(*_: object) -> Iterator[str]:
        yield "event: hello\n\n"

    monkeypatch.setattr(live, "changes", once)


def screen(room: Room):
    """A browser that is a wall screen."""
    secret = room.screens.make(CONSOLE, "hall", 9)
    found = browser(room)
    assert found.post(f"/wall/{secret}").status_code == 303
    assert found.cookies[SCREEN]
    return found


@pytest.mark.parametrize("role", ["nobody", WALL, *ROLES])
def test_each_route_answers_to_each_role_as_the_table_says(
    room: Room, role: str, finite: None
) -> None:
    add_run(room, "one")
    room.mirror.look()
    if role == WALL:
        caller = screen(room)
    else:
        caller = browser(room) if role == "nobody" else program(room, role, site="north")
    refused = 0
    for method, path in routes():
        least = ROUTES[method, path]
        filled = re.sub(r"\{(\w+)\}", _filled, path)
        answer = caller.request(method, filled)
        may = least == PUBLIC or allows(role, least)
        if may:
            assert answer.status_code not in (401, 403), (method, path, answer.text)
        elif role == "nobody":
            to_login = answer.headers.get("location", "").startswith("/login?next=")
            assert answer.status_code == 401 or to_login, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert f"this takes the role &#39;{least}&#39;" in answer.text or answer.json()[
                "error"
            ].startswith(f"this takes the role '{least}'")
        refused += not may
    assert refused == sum(not allows(role, one) for one in ROUTES.values() if one != PUBLIC)


def test_a_route_without_a_line_is_refused_to_everybody(room: Room) -> None:
    caller = program(room, "admin")
    caller.app.get("/new")(lambda: "here")
    answer = caller.get("/new")
    assert (answer.status_code, answer.json()) == (403, {"error": "nobody may do this"})


def test_roles_hold_what_those_before_them_hold() -> None:
    assert [allows("releaser", one) for one in ROLES] == [True, True, True, True, False]
    assert not allows("", "site") and not allows("viewer", "no such role")
    assert [allows(one, WALL) for one in (WALL, *ROLES)] == [True, False, True, True, True, True]
    assert not allows("", ANYONE) and all(allows(one, ANYONE) for one in (WALL, *ROLES))
    assert not any(allows(WALL, one) for one in ROLES)


def test_a_sites_people_see_their_site_and_nothing_of_the_others(room: Room) -> None:
    add_run(room, "one")
    room.mirror.look()
    north = logged_in(room, "nora", "site", "north")
    assert north.get("/").headers["location"] == "/mine"
    page = north.get("/mine").text
    assert "north" in page and "0.900" in page and "south" not in page
    for path in ("/overview", "/runs/1", "/banks", "/history", "/api/runs", "/api/sites"):
        assert north.get(path).status_code == 403, path
