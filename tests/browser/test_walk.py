"""What people do in a browser, from the first link to the way back."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from sqlalchemy import update

from fedpatchcore.control.room import CONSOLE
from fedpatchcore.web import people
from fedpatchcore.web.pages import live
from fedpatchcore.web.tables import Login
from tests.support.control import PASSWORD, append, run_events


def test_first_login_start_follow_stop_and_the_log(place, window) -> None:
    page = window()
    page.goto(f"{place.url}/join/{place.room.people.invite(CONSOLE, '', 'admin')}")
    page.get_by_label("Name").fill("anna")
    for label in ("Password, 12 characters or more", "Once again"):
        page.get_by_label(label).fill(PASSWORD)
    page.get_by_role("button", name="Come in").click()
    page.wait_for_url("**/overview")
    page.get_by_role("link", name="Start a run").click()
    page.get_by_label("name", exact=False).first.fill("first")
    page.get_by_role("heading", name="Nothing differs from the defaults").wait_for()
    page.locator("summary", has_text="The federation").click()
    page.locator("[name=num-rounds]").fill("0")
    page.get_by_role("button", name="Start", exact=True).click()
    assert "num-rounds" in page.get_by_role("alert").inner_text()
    page.locator("[name=num-rounds]").fill("2")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/\d+$"))
    (folder,) = place.flower.folders
    page.get_by_text("num-rounds").wait_for()
    append(folder, run_events(over=False)[3:4])  # a live page: nobody loads it again
    page.get_by_role("region", name="Sites of the run").get_by_text("north").wait_for()
    page.get_by_role("link", name="Log").click()
    page.get_by_label("Lines with").fill("asked")
    expect(page.locator("#lines li")).to_have_count(1)
    page.go_back()
    page.get_by_role("button", name="Stop").click()
    page.locator(".state.stopped").wait_for()
    assert place.flower.stopped == ["7"]  # as the run itself says in its events
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{place.url}/overview")
    page.wait_for_url("**/login?next=**")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("not this one at all")
    page.get_by_role("button", name="Log in").click()
    assert "wrong" in page.get_by_role("alert").inner_text()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/overview")


def test_a_preset_is_kept_used_and_forgotten_and_a_schedule_made(place, come_in) -> None:
    page = come_in(place, "olga", "operator")
    page.goto(f"{place.url}/start")
    page.locator("summary", has_text="The federation").click()
    page.locator("[name=num-rounds]").fill("3")
    page.get_by_label("or keep these settings as").fill("three rounds")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("link", name="three rounds").click()
    page.get_by_role("heading", name="1 setting differs from the defaults").wait_for()
    page.get_by_role("link", name="Schedules").click()
    page.locator("[name=name]").fill("nightly")
    page.locator("[name=cron]").fill("0 99 * * *")
    page.locator("[name=preset]").select_option("three rounds")
    page.get_by_role("button", name="Make a schedule").click()
    assert "is no time" in page.get_by_role("alert").inner_text()
    page.locator("[name=cron]").fill("0 2 * * *")
    page.get_by_role("button", name="Make a schedule").click()
    page.get_by_role("region", name="Schedules").get_by_text("num-rounds=3").wait_for()
    page.get_by_role("button", name="end nightly").click()
    page.get_by_text("None. A schedule").wait_for()
    page.goto(f"{place.url}/start?preset=three+rounds")
    page.get_by_role("button", name="Forget three rounds").click()
    page.get_by_role("heading", name="Nothing differs from the defaults").wait_for()


def test_release_a_gate_that_is_not_passed_and_the_way_back(place, come_in) -> None:
    place.run("one", 0.95, 0, 1)
    page = come_in(place, "rita", "releaser")
    page.get_by_role("link", name="plate: bank 1 waits for a release").click()
    page.get_by_role("button", name="Release for plate").click()
    page.get_by_text("In production.", exact=True).wait_for()
    place.run("two", 0.80, 1000, 2)
    page.goto(f"{place.url}/banks/2")
    page.get_by_role("link", name="What it changes over bank 1").click()
    page.get_by_role("heading", name="What bank 2 changes over bank 1").wait_for()
    assert page.get_by_text("not passed").count() == 2
    page.go_back()
    page.get_by_role("button", name="Release for plate").click()
    assert "a gate is not passed" in page.get_by_role("alert").inner_text()
    page.go_back()
    page.get_by_label("note").first.fill("the plant asked for it")
    page.get_by_label("also if a gate is not passed").check()
    page.get_by_role("button", name="Release for plate").click()
    page.get_by_text("In production.", exact=True).wait_for()
    page.get_by_role("link", name="Banks").click()
    page.get_by_label("because").fill("false alarms")
    page.get_by_role("button", name="The version before").click()
    page.wait_for_url("**/banks/1")
    page.get_by_text("In production.", exact=True).wait_for()


def test_two_browsers_at_once_each_sees_what_the_other_does(filled, come_in) -> None:
    one, other = come_in(filled, "rita", "releaser"), come_in(filled, "vera", "viewer")
    other.goto(f"{filled.url}/overview")
    assert other.get_by_text("bank 3 waits for a release").count() == 1
    assert other.get_by_role("button", name="Seen to").count() == 0
    one.goto(f"{filled.url}/banks/3")
    one.get_by_role("button", name="Release for plate").click()
    one.get_by_text("In production.", exact=True).wait_for()
    other.get_by_text("bank 3 waits for a release").wait_for(state="detached")
    one.goto(f"{filled.url}/overview")
    one.get_by_role("button", name=re.compile("seen to: south, plate: drift")).click()
    other.get_by_text("scores of good parts rise").wait_for(state="detached")


def test_roles_are_refused_in_a_line_and_a_site_sees_its_own(filled, come_in) -> None:
    viewer = come_in(filled, "vera", "viewer")
    for path in ("/start", "/people", "/trail"):
        viewer.goto(f"{filled.url}{path}")
        assert "this takes the role" in viewer.get_by_role("alert").inner_text()
    assert viewer.get_by_role("link", name="Start a run").count() == 0
    site = come_in(filled, "nora", "site", "north")
    site.wait_for_url("**/mine")
    assert "south" not in site.inner_text("body") and "wednesday" in site.inner_text("body")
    site.goto(f"{filled.url}/overview")
    assert "this takes the role" in site.get_by_role("alert").inner_text()


def test_keyboard_alone(place, window) -> None:
    place.run("one", 0.95, 0, 1)
    page = window()
    page.goto(place.link("rita", "releaser"))
    for key in ("Tab",) * 2:  # over "to the content" and into the first field
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.name") == "password"
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/overview")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    def reach(words: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            told = page.evaluate(
                "[document.activeElement.innerText, getComputedStyle(document.activeElement)"
                ".outlineStyle]"
            )
            if told[0] and words in told[0]:
                assert told[1] != "none", "what has the focus must show it"
                return
        raise AssertionError(f"{words} cannot be reached")

    reach("bank 1 waits for a release")
    page.keyboard.press("Enter")
    page.wait_for_url("**/banks/1?product=plate")
    reach("Release for plate")
    page.keyboard.press("Enter")
    page.get_by_text("In production.", exact=True).wait_for()


def test_a_wall_screen_stays_and_may_do_nothing(filled, come_in, window) -> None:
    admin = come_in(filled, "anna", "admin")
    admin.goto(f"{filled.url}/people")
    form = admin.locator("form[action='/screens']")
    form.get_by_label("name").fill("hall 3")
    form.get_by_role("button").click()
    link = admin.locator(".secret").inner_text()
    screen = window(viewport={"width": 1920, "height": 1080})
    screen.goto(link)
    screen.get_by_role("button", name="Show here").click()
    screen.wait_for_url("**/wall")
    hours = 13 * 3600_000  # longer than any person's log-in
    with filled.room.database.write() as session:
        session.execute(
            update(Login).values(seen_at=Login.seen_at - hours, made_at=Login.made_at - hours)
        )
    assert hours > people.LONGEST_LOGIN
    admin.reload()
    admin.wait_for_url("**/login?next=**")
    filled.run("friday", 0.97, 9000, 9)
    screen.get_by_text("friday").or_(screen.get_by_text("bank 4 waits")).first.wait_for()
    assert screen.get_by_role("button").count() == screen.get_by_role("link").count() - 1 == 0
    for path in ("/overview", "/runs", "/banks/1", "/people"):
        screen.goto(f"{filled.url}{path}")
        assert "this takes the role" in screen.get_by_role("alert").inner_text()
    screen.goto(filled.url)
    screen.wait_for_url("**/wall")
    again = window()
    again.goto(link)
    assert "this link was used" in again.get_by_role("alert").inner_text()


def test_a_lost_connection_is_said(filled, come_in) -> None:
    page = come_in(filled, "vera", "viewer")
    page.goto(f"{filled.url}/overview")
    page.locator("#away").wait_for(state="hidden")
    expect(page.locator("#since")).to_be_hidden()
    assert live.open_streams == 1
    filled.server.should_exit = filled.server.force_exit = True
    page.get_by_text("No connection to the control room").wait_for()


def test_a_report_is_framed_and_runs_nothing(filled, come_in) -> None:
    page = come_in(filled, "vera", "viewer")
    page.goto(f"{filled.url}/compare?run=2&run=3")
    page.get_by_role("link", name="Reports side by side").click()
    for title in ("Report of tuesday", "Report of wednesday"):
        page.frame_locator(f"iframe[title='{title}']").get_by_role("heading").wait_for()
