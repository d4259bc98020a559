"""Pages show what is there, harmlessly, with so many queries, and say in one line what is wrong."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import update

from fedpatchcore.control.attention import SILENT
from fedpatchcore.control.render import asset
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import Run
from fedpatchcore.web.audit import SYSTEM
from fedpatchcore.web.moments import now
from fedpatchcore.web.pages.live import changes
from tests.support.control import (
    add_run,
    browser,
    csrf_of,
    logged_in,
    program,
    run_events,
    small_bank,
)
from tests.support.events import event
from tests.support.runfolders import HOSTILE

PAGES = ("/overview", "/wall", "/runs", "/runs/1", "/runs/1/log", "/banks", "/banks/1", "/history")
PAGES = (*PAGES, "/start", "/schedules", "/banks/1/beside/1", "/metrics")


def words(text: str) -> str:
    """What a person reads of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_overview_shows_sites_the_run_in_progress_and_banks(room: Room) -> None:
    add_run(room, "done", bank=small_bank())
    room.mirror.look()
    add_run(room, "going", run_events(over=False, at=1000))
    room.mirror.look()
    told = words(logged_in(room).get("/overview").text)
    assert "2 of 2 sites here" in told and "round 1 of 1 run in progress" in told
    assert "In progress: going round 1 of 1: 2 of 2 sites answered" in told
    assert "0 of 1 products with a bank in production" in told and "bank 1 of done" in told


def test_what_needs_a_person_is_told_worst_first(room: Room) -> None:
    add_run(room, "bad", [*run_events(over=False), event("lost", 9, site="south", reason="dead")])
    room.mirror.look()
    found = logged_in(room)
    told = words(found.get("/overview").text)
    assert "run bad has told nothing for" in told and "south: LOST: dead" in told
    assert told.index("has told nothing") < told.index("south: LOST")
    with room.database.write() as session:
        session.execute(update(Run).values(told_at=now() - SILENT + 5000))
    assert "has told nothing" not in words(found.get("/overview").text)


def test_a_budget_that_is_nearly_spent_is_told(room: Room) -> None:
    private = [
        one | {"epsilon": 0.95 if one["site"] == "north" else 0.5}
        if one["event"] == "trained"
        else one
        for one in run_events()
    ]
    add_run(room, "private", private)
    room.mirror.look()
    told = words(logged_in(room).get("/overview").text)
    assert "north: ε 0.95 of 1 is spent" in told and "south: ε" not in told


def test_names_from_elsewhere_stay_words(room: Room) -> None:
    add_run(room, HOSTILE.replace("/", "-"), run_events(names=[HOSTILE, "b"]), bank=small_bank())
    room.mirror.look()
    found = logged_in(room)
    for path in PAGES:
        page = found.get(path)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text, path
    assert "&lt;script&gt;alert" in found.get("/overview").text


def test_pages_load_nothing_from_elsewhere_and_run_nothing_of_their_own(room: Room) -> None:
    add_run(room, "one", bank=small_bank())
    room.mirror.look()
    found = logged_in(room)
    for path in (*PAGES, "/people", "/trail", "/login"):
        page = found.get(path)
        assert not re.search(r'(?:src|href|action)="(?!/|#)', page.text), path
        assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=", page.text), path
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        for name in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text):
            assert found.get(name).status_code == 200
        labels = re.findall(r"<input(?![^>]*hidden)[^>]*>", page.text)
        assert path != "/login" or len(labels) == 2
    assert b"sourceMappingURL" not in asset("htmx.min.js")[0]


@pytest.mark.parametrize("path", PAGES)
def test_queries_do_not_grow_with_sites_and_runs(room: Room, path: str) -> None:
    add_run(room, "r0", bank=small_bank())
    room.mirror.look()
    found = logged_in(room)

    def counted() -> int:
        before = room.database.queries
        assert found.get(path).status_code == 200
        return room.database.queries - before

    few = counted()
    for at in range(1, 6):
        names = [f"s{n}" for n in range(20)]
        add_run(room, f"r{at}", run_events(names=names, at=at * 100), bank=small_bank(at))
    room.mirror.look()
    assert counted() == few <= 12


def test_the_log_is_filtered_and_reads_like_the_command_lines(room: Room) -> None:
    add_run(room, "one")
    room.mirror.look()
    found = logged_in(room)
    assert "round 1 of 1: asked 2 sites" in found.get("/runs/1/log").text
    told = found.get("/runs/1/log?words=NORTH").text
    lines = re.findall(r"<li>(.*?)</li>", told)
    assert lines and all("north" in line for line in lines)


def test_runs_are_compared_by_figures_and_by_settings_that_differ(room: Room) -> None:
    add_run(room, "a", run_events(auroc=0.9), coreset_size=100)
    add_run(room, "b", run_events(auroc=0.95), coreset_size=200)
    room.mirror.look()
    told = words(logged_in(room).get("/compare?run=1&run=2").text)
    assert "coreset-size 100 200" in told
    assert "backbone" not in told and "0.900 0.950" in told
    assert (
        told.index("Defects found") < told.index("Good parts stopped") < told.index("Image AUROC")
    )
    assert "9 of 10 9 of 10" in told


def test_the_report_is_shown_and_may_run_nothing(room: Room) -> None:
    folder = add_run(room, "one")
    room.mirror.look()
    found = logged_in(room)
    assert found.get("/runs/1/report").status_code == 404
    (folder / "report.html").write_text("<script>1</script>")
    answer = found.get("/runs/1/report")
    assert answer.text == "<script>1</script>"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    (folder / "report.html").unlink()
    (folder / "report.html").symlink_to("/etc/passwd")
    assert found.get("/runs/1/report").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/runs/x",
        "/runs/99",
        "/runs/-1",
        "/runs/99999999999999999999999",
        "/runs?page=0",
        "/runs?page=x",
        "/runs?page=99999999999999",
        "/compare",
        "/compare?run=1",
        "/compare?run=1&run=x",
        "/compare?run=1&run=99",
        "/compare?" + "&".join(f"run={n}" for n in range(9)),
        "/banks/99",
        "/banks/99999999999999999999999",
        "/history?day=yesterday",
        "/history?day=0001-01-01",
        "/history?product=" + "x" * 400,
        "/runs/1/log?words=" + "x" * 200,
        "/start?like=99",
        "/start?preset=none",
        "/assets/live.js.map",
        "/assets/..%2fapp.py",
        "/no/such/page",
        "/banks/1/beside/2",
        "/banks/9/beside/99999999999999999999999",
        "/compare/reports?run=1",
        "/wall/none",
        "/history?product=%00",
        "/runs/1/log?words=%00",
        "/api/runs/99",
        "/api/history?product=x",
        "/api/products/none/bank",
    ],
)
def test_bad_input_is_a_line(room: Room, path: str) -> None:
    add_run(room, "one")
    room.mirror.look()
    for caller in (logged_in(room), program(room, "admin")):
        answer = caller.get(path)
        assert 400 <= answer.status_code < 500, answer.text
        if answer.headers["content-type"] == "application/json":
            told = answer.json()["error"]
            assert told and "\n" not in told
        else:
            assert re.search(r'role="alert">[^<\n]+<', answer.text)
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x" * 300_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a=%d" % n for n in range(500)), "application/x-www-form-urlencoded", 400),
        (b"a=\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"{" * 2000, "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"seed": {"a": 1}}', "application/json", 400),
        (b'{"seed": "x"}', "application/json", 400),
        (b'{"no-such-key": 1}', "application/json", 400),
        (b"x", "text/plain", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
    ],
)
def test_bad_bodies_are_a_line(room: Room, content: bytes, kind: str, status: int) -> None:
    caller = program(room, "operator")
    answer = caller.post("/api/runs", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example"])
def test_a_foreign_name_is_refused_before_anything_is_looked_at(room: Room, host: str) -> None:
    for path in ("/login", "/health", "/assets/live.js"):
        assert browser(room).get(path, headers={"host": host}).status_code == 421
    assert browser(room).get("/health", headers={"host": "LOCALHOST:99"}).status_code == 200


def test_the_stream_tells_each_change_once_and_ends_with_the_welcome(monkeypatch) -> None:
    from fedpatchcore.web.pages import live

    monkeypatch.setattr(live, "ALIVE", 0.01)
    versions, left = iter([1, 1, 2, 2, 5, *[5] * 50]), [2]

    async def welcome() -> bool:
        left[0] -= 1
        return left[0] > 0

    async def follow() -> list[str]:
        return [one async for one in changes(lambda: next(versions), welcome, 0.006)]

    told = asyncio.run(follow())
    assert [re.sub(r"(?s).*data: ", "", one).strip() for one in told if "data" in one] == [
        "1",
        "2",
        "5",
    ]
    assert told.count(": alive\n\n") == 1 and live.open_streams == 0


def test_an_error_that_nobody_foresaw_tells_no_more_than_its_kind(room: Room, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(room.people, "of_token", broken)
    caller = browser(room, authorization="Bearer x")
    with pytest.raises(RuntimeError):
        caller.get("/api/runs")
    from tests.support.control import TestClient

    quiet = TestClient(caller.app, "http://127.0.0.1", raise_server_exceptions=False)
    answer = quiet.get("/api/runs", headers={"authorization": "Bearer x"})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.json()["error"].startswith("something went wrong here (RuntimeError)")


def test_people_see_their_own_forms_alone(room: Room) -> None:
    add_run(room, "one", run_events(over=False))
    room.mirror.look()
    viewer, operator = logged_in(room, "v", "viewer"), logged_in(room, "o", "operator")
    assert "Stop" not in viewer.get("/runs/1").text and "/start" not in viewer.get("/runs/1").text
    assert "Stop" in operator.get("/runs/1").text and "/people" not in operator.get("/runs").text
    assert csrf_of(operator) != csrf_of(viewer)


def test_the_trail_speaks_in_words(room: Room) -> None:
    found = logged_in(room)
    with room.database.write() as session:
        after = {"role": "viewer", "site": None}
        room.trail.add(session, SYSTEM, "person.changed", "bob", after=after)
    page = found.get("/trail").text
    table = page.split("<table")[1].split("</table>")[0]
    assert "role viewer, site –" in table
    assert "None" not in table and "{" not in table
