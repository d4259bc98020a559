"""Who comes in, how long, and what a browser must show before anything changes."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.errors import ControlError
from fedpatchcore.web import people
from fedpatchcore.web.passwords import Attempts
from fedpatchcore.web.people import DAY, IDLE, LINK_LASTS, LONGEST_LOGIN
from fedpatchcore.web.tables import Login, Token, User
from tests.support.control import PASSWORD, add_run, browser, csrf_of, logged_in, program


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Milliseconds that a test moves on."""
    at = [people.now()]
    monkeypatch.setattr(people, "now", lambda: at[0])
    return at


def test_the_first_admin_comes_by_a_link_that_works_once(room: Room, clock: list[int]) -> None:
    assert room.people.nobody_yet()
    secret = room.people.invite(CONSOLE, "", "admin")
    found = browser(room)
    told = {"name": "anna", "password": PASSWORD, "again": PASSWORD}
    assert found.post(f"/join/{secret}", data=told | {"again": "x"}).status_code == 400
    assert found.post(f"/join/{secret}", data=told | {"password": "short", "again": "short"}
    ).status_code == 400  # fmt: skip
    assert found.post(f"/join/{secret}", data=told).status_code == 303
    assert not room.people.nobody_yet()
    assert found.get("/people").status_code == 200
    assert "was used" in found.get(f"/join/{secret}").text
    late = room.people.invite(CONSOLE, "", "admin")
    clock[0] += LINK_LASTS + 1
    assert browser(room).get(f"/join/{late}").status_code == 400
    assert browser(room).get("/join/guessed").status_code == 400


def test_nothing_kept_lets_anybody_in(room: Room) -> None:
    found = logged_in(room)
    key = room.people.make_token(CONSOLE, "k", "viewer", "", 1)
    cookie = found.cookies["fedpatchcore"]
    with room.database.read() as session:
        user, login = session.scalar(select(User)), session.scalar(select(Login))
        token = session.scalar(select(Token))
    assert user.password.startswith("$argon2id$") and PASSWORD not in user.password
    data = b"".join(p.read_bytes() for p in room.database.path.parent.glob("control.db*"))
    assert cookie.encode() not in data and key.encode() not in data
    assert cookie != login.digest and key != token.digest
    for kept in (login.digest, token.digest):
        assert room.people.of_cookie(kept) is None and room.people.of_token(kept) is None


def test_the_cookie_is_the_browsers_alone(room: Room) -> None:
    logged_in(room)
    told = {"name": "anna", "password": PASSWORD}
    for tls in (False, True):
        room.tls = tls
        line = browser(room).post("/login", data=told).headers["set-cookie"].lower()
        assert "httponly" in line and "samesite=strict" in line and ("secure" in line) is tls


def test_wrong_passwords_are_told_alike_and_soon_wait(room: Room) -> None:
    logged_in(room)
    answers = [
        browser(room).post("/login", data={"name": name, "password": "no"}).text
        for name in ("anna", "nobody")
    ]
    assert all("name or password is wrong" in one for one in answers)
    for _ in range(4):
        browser(room).post("/login", data={"name": "anna", "password": "no"})
    told = {"name": "anna", "password": PASSWORD}
    answer = browser(room).post("/login", data=told)
    assert answer.status_code == 429 and "try again in 5 minutes" in answer.text
    room.people.attempts = Attempts(seconds=0.0)
    assert browser(room).post("/login", data=told).status_code == 303


def test_an_address_that_tries_many_names_waits_as_well(room: Room) -> None:
    for at in range(20):
        browser(room).post("/login", data={"name": f"n{at}", "password": "no"})
    assert browser(room).post("/login", data={"name": "x", "password": "no"}).status_code == 429


def test_a_log_in_ends_when_nobody_is_there(room: Room, clock: list[int]) -> None:
    found = logged_in(room)
    clock[0] += IDLE - 1
    assert found.get("/runs").status_code == 200
    clock[0] += IDLE - 1
    assert found.get("/runs", headers={"x-live": "1"}).status_code == 200  # a page by itself
    clock[0] += 2
    answer = found.get("/runs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/runs")
    assert found.get("/runs", headers={"x-live": "1"}).status_code == 401


def test_a_log_in_ends_after_half_a_day_of_work(room: Room, clock: list[int]) -> None:
    found = logged_in(room)
    for _ in range(LONGEST_LOGIN // (IDLE - 1) + 1):
        clock[0] += IDLE - 1
        last = found.get("/runs").status_code
    assert last == 303


def test_logging_out_ends_the_cookie_wherever_it_is(room: Room) -> None:
    found = logged_in(room)
    cookie = found.cookies["fedpatchcore"]
    found.post("/logout", data={"csrf": csrf_of(found)})
    assert browser(room, cookie=f"fedpatchcore={cookie}").get("/runs").status_code == 303


@pytest.mark.parametrize("told", [{}, {"csrf": ""}, {"csrf": "guessed"}, {"csrf": "é"}])
def test_a_form_without_its_token_changes_nothing(room: Room, told: dict) -> None:
    found = logged_in(room)
    answer = found.post("/people/invite", data={"name": "eve", "role": "admin", **told})
    assert answer.status_code == 403 and "out of date" in answer.text
    other = csrf_of(logged_in(room, "bert"))
    assert found.post("/people/invite", data={"role": "admin", "csrf": other}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_another_sites_page_posts_nothing(room: Room, headers: dict) -> None:
    found = logged_in(room)
    told = {"csrf": csrf_of(found), "role": "viewer"}
    assert found.post("/people/invite", data=told, headers=headers).status_code == 403
    at_home = {"origin": "http://127.0.0.1"}
    assert found.post("/people/invite", data=told, headers=at_home).status_code == 200
    assert browser(room).post("/login", data={"name": "anna"}, headers=headers).status_code == 403


def test_keys_of_programs_have_a_role_and_an_end(room: Room, clock: list[int]) -> None:
    add_run(room, "one")
    room.mirror.look()
    caller = program(room, "viewer")
    assert caller.get("/api/runs").status_code == 200
    assert caller.post("/api/runs").status_code == 403
    clock[0] += DAY + 1
    assert caller.get("/api/runs").status_code == 401
    again = program(room, "viewer")
    room.people.end_token(CONSOLE, 2)
    assert again.get("/api/runs").status_code == 401
    for bad in ({"days": "0"}, {"days": "367"}, {"days": "x"}, {"role": "king"}, {"role": "site"}):
        admin = program(room, "admin")
        told = {"name": "k", "role": "viewer", "days": "1", **bad}
        assert admin.post("/tokens", data=told).status_code == 400, bad


def test_the_last_admin_stays(room: Room) -> None:
    found = logged_in(room)
    csrf = csrf_of(found)
    for path, told in (("/people/1/role", {"role": "viewer"}), ("/people/1/end", {})):
        answer = found.post(path, data={"csrf": csrf, **told})
        assert answer.status_code == 400 and "last admin" in answer.text
    logged_in(room, "bert")
    assert found.post("/people/1/role", data={"csrf": csrf, "role": "viewer"}).status_code == 303
    assert found.get("/people").status_code == 403  # at once


def test_who_left_is_out_at_once_and_may_be_asked_back(room: Room) -> None:
    admin, bert = logged_in(room), logged_in(room, "bert", "viewer")
    admin.post("/people/2/end", data={"csrf": csrf_of(admin)})
    assert bert.get("/runs").status_code == 303
    told = {"name": "bert", "password": PASSWORD}
    assert browser(room).post("/login", data=told).status_code == 400
    assert logged_in(room, "bert", "viewer").get("/runs").status_code == 200


def test_a_new_password_ends_the_old_log_ins(room: Room) -> None:
    old = logged_in(room)
    logged_in(room)
    assert old.get("/runs").status_code == 303


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 65, "\u202eanna"])
def test_names_are_one_plain_line(room: Room, name: str) -> None:
    secret = room.people.invite(CONSOLE, "", "viewer")
    with pytest.raises(ControlError, match="a name is one line"):
        room.people.join(secret, name, PASSWORD, "")


@pytest.mark.parametrize("password", ["short", "x" * 201, "aaaaaaaaaaaaaaaa", "annaannaanna"])
def test_passwords_that_are_guessed_are_refused(room: Room, password: str) -> None:
    secret = room.people.invite(CONSOLE, "anna", "viewer")
    with pytest.raises(ControlError):
        room.people.join(secret, "", password, "")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "\t//x"]
)
def test_a_log_in_leads_nowhere_else(room: Room, target: str) -> None:
    logged_in(room)
    told = {"name": "anna", "password": PASSWORD, "next": target}
    assert browser(room).post("/login", data=told).headers["location"] == "/"
