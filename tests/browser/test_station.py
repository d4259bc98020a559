"""What people do at a station's pages in a real browser: by keys, by touch, in two languages."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.station.application import application
from fedpatchcore.station.station import Station
from fedpatchcore.web.serving import CONSOLE
from tests.browser.looks import faults_of
from tests.support.products import write_product
from tests.support.stations import PASSWORD, drop, fitted, make_station, rows_of

SIZES = {390: 844, 1360: 900, 1920: 1080}


class Line:
    """A station that judges and serves on loopback."""

    def __init__(self, tmp: Path) -> None:
        self.tmp, self.bank = tmp, tmp / "bank.safetensors"
        shutil.copy(fitted()[1], self.bank)
        for product in ("plate", "ring"):
            write_product(tmp / "own" / product, train=12)
        told = {"training": str(tmp / "own"), "bank": str(self.bank), "drift-reference": 20}
        self.station: Station = make_station(tmp, **told)
        port = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{port.getsockname()[1]}"
        config = uvicorn.Config(
            application(self.station), log_level="warning", access_log=False, ws="none"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [port]})
        self.thread.start()
        self.station.start()
        self.until(lambda: self.server.started)
        self.until(lambda: self.station.explainer.learnt(self.station.worker.bench))

    def until(self, true: Callable[[], Any], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end and self.thread.is_alive()
            time.sleep(0.05)

    def fall(self, name: str, seed: int, *, defect: bool = False) -> None:
        """A part falls, and is judged."""
        count = len(rows_of(self.station.place))
        drop(self.tmp, name, seed, defect=defect)
        self.until(lambda: len(rows_of(self.station.place)) == count + 1)
        self.until(lambda: rows_of(self.station.place)[-1].state != "waiting")

    def said(self) -> list[str]:
        return [one.said for one in rows_of(self.station.place) if one.verdict == "defect"]

    def close(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(30)
        self.station.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Three good parts, three stopped ones, one that cannot be read."""
    made = Line(tmp_path)
    try:
        for at in range(3):
            made.fall(f"plate/good-{at}.png", 500 + at)
            made.fall(f"ring/bad-{at}.png", 700 + at, defect=True)
        (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"IEND0000")
        made.until(lambda: rows_of(made.station.place)[-1].state == "failed")
        yield made
    finally:
        made.close()


@pytest.fixture
def enter(window: Callable[..., Any]) -> Callable[..., Any]:
    """A person with a role, who came in by a one-time link."""

    def come(line: Line, name: str, role: str, **more: Any) -> Any:
        page = window(**more)
        page.goto(f"{line.url}/join/{line.station.place.people.invite(CONSOLE, name, role)}")
        for field in page.locator("input[type=password]").all():
            field.fill(PASSWORD)
        page.locator("main button").click()
        page.wait_for_url(f"{line.url}/")
        return page

    return come


def loaded(page: Any, selector: str) -> None:
    """Pictures are there, not only their frames."""
    page.locator(selector).first.wait_for(state="attached")
    page.wait_for_function(
        "s => [...document.querySelectorAll(s)].every(i => i.complete && i.naturalWidth > 0)",
        arg=selector,
    )


def test_an_inspector_works_through_the_queue_by_keys(line: Line, enter) -> None:
    page = enter(line, "ines", "inspector")
    page.goto(f"{line.url}/stopped")
    page.wait_for_url("**/stopped")
    loaded(page, ".stage img")
    loaded(page, ".why img")  # this part beside the nearest good patch of the station's own
    assert page.locator(".why").first.locator("img").count() == 2
    heat, stage = page.locator("#heat"), page.locator("#stage")
    expect(heat).to_be_visible()
    page.keyboard.press("h")
    expect(heat).to_be_hidden()
    page.keyboard.press("h")
    expect(heat).to_be_visible()
    page.keyboard.press("1")
    page.wait_for_function(
        "() => document.getElementById('stage').style.transform && "
        "!document.getElementById('stage').getAnimations().length"
    )
    where = page.evaluate(
        """() => { const r = document.querySelector('#stage rect').getBoundingClientRect(),
        f = document.getElementById('frame').getBoundingClientRect();
        return [(r.x + r.width / 2 - f.x) / f.width, (r.y + r.height / 2 - f.y) / f.height,
        Math.max(r.width / f.width, r.height / f.height)]; }"""
    )
    assert where[0] == pytest.approx(0.5, abs=0.02) and where[1] == pytest.approx(0.5, abs=0.02)
    assert where[2] > 0.4, "the region fills the frame's middle"
    page.keyboard.press("0")
    expect(stage).not_to_have_attribute("style", re.compile("scale"))
    page.keyboard.press("n")
    page.keyboard.type("dug: a scratch?")  # letters in a note are no words
    page.keyboard.press("Enter")  # nor is its end
    assert page.evaluate("document.activeElement.name") != "note" and line.said() == ["", "", ""]
    with page.expect_navigation():
        page.keyboard.press("g")
    line.until(lambda: line.said() == ["good", "", ""])
    with page.expect_navigation():
        page.keyboard.press("z")
    line.until(lambda: line.said() == ["", "", ""])
    page.get_by_text("dug: a scratch?").wait_for()  # the part again, and what was said of it
    with page.expect_navigation():
        page.keyboard.press("j")
    with page.expect_navigation():
        page.keyboard.press("k")
    for key, told in (("d", "defect"), ("u", "unsure"), ("g", "good")):
        with page.expect_navigation():
            page.keyboard.press(key)
        line.until(lambda told=told: told in line.said())
    assert line.said() == ["defect", "unsure", "good"]
    page.get_by_role("heading", name="Nothing waits for a person").wait_for()
    with page.expect_navigation():
        page.keyboard.press("z")
    line.until(lambda: line.said() == ["defect", "unsure", ""])


def test_two_browsers_at_once_and_the_last_part_by_itself(line: Line, enter) -> None:
    hall = enter(line, "vera", "viewer", viewport={"width": 1920, "height": 1080})
    ines = enter(line, "ines", "inspector")
    hall.get_by_text("NOT JUDGED").first.wait_for()
    line.fall("plate/late.png", 777, defect=True)  # nobody loads the page again
    hall.locator(".now b", has_text="STOP").wait_for()
    told = hall.locator(".now b").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert told >= 150, "as tall as a hand, to be read from three metres"
    loaded(hall, ".now img")
    waiting = hall.locator(".strip .tile b").first
    expect(waiting).to_have_text("4")
    ines.goto(f"{line.url}/stopped")
    ines.get_by_role("button", name="It is good").click()
    ines.wait_for_url("**/stopped")
    line.fall("plate/later.png", 501)
    hall.locator(".now b", has_text="OK").wait_for()
    expect(waiting).to_have_text("3")
    assert hall.get_by_role("link", name="People").count() == 0


def test_roles_are_refused_in_a_line(line: Line, enter) -> None:
    vera = enter(line, "vera", "viewer")
    vera.goto(f"{line.url}/stopped")
    vera.get_by_role("heading", name="Score").wait_for()
    assert vera.get_by_role("button", name="It is good").count() == 0
    vera.keyboard.press("g")
    vera.goto(f"{line.url}/people")
    assert "this takes the role" in vera.get_by_role("alert").inner_text()
    assert line.said() == ["", "", ""]


def test_history_by_filter_down_to_one_part_and_as_a_table(line: Line, enter) -> None:
    page = enter(line, "vera", "viewer")
    page.get_by_role("link", name="History").click()
    rows = page.locator("table tbody tr", has=page.locator("a[href^='/parts/']"))
    expect(rows).to_have_count(7)
    for label, told, count in (("Verdict", "defect", 3), ("Product", "plate", 0)):
        page.get_by_label(label).first.select_option(told)
        page.get_by_role("button", name="Show").click()
        expect(rows).to_have_count(count)
    page.get_by_label("Product").first.select_option("ring")
    page.get_by_role("button", name="Show").click()
    with page.expect_download() as found:
        page.get_by_role("link", name="CSV").click()
    assert len(Path(found.value.path()).read_text().splitlines()) == 4
    rows.first.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/parts/\d+$"))
    loaded(page, ".stage img")


def test_the_bank_before_by_a_click_with_a_reason_and_forth_again(line: Line, enter) -> None:
    page = enter(line, "lea", "lead")
    first = line.station.worker.bench.digest
    bank = MemoryBank.load(line.bank)
    other = {k: {s: 2 * v for s, v in own.items()} for k, own in bank.thresholds.items()}
    replace(bank, thresholds=other).save(line.bank)
    line.until(lambda: line.station.worker.bench.digest != first)
    page.get_by_role("link", name="Banks").click()
    page.get_by_role("button", name="Back to the bank before").click()
    assert page.url.endswith("/banks"), "a reason is asked for first"
    page.get_by_label("Why is the bank before better?").fill("too many are stopped")
    page.get_by_role("button", name="Back to the bank before").click()
    page.get_by_text("too many are stopped").wait_for()
    line.until(lambda: line.station.worker.bench.digest == first)
    page.goto(line.url)
    page.get_by_role("link", name="went back to this bank").click()
    page.get_by_role("button", name="Take the newer bank again").click()
    page.get_by_role("button", name="Back to the bank before").wait_for()
    line.until(lambda: line.station.worker.bench.digest != first)


def test_an_admin_lets_somebody_in_who_works_by_touch(line: Line, enter, window) -> None:
    anna = enter(line, "anna", "admin")
    anna.get_by_role("link", name="People").click()
    form = anna.locator("form[action='/people/invite']")
    form.get_by_label("name").fill("theo")
    form.get_by_label("role").select_option("inspector")
    form.get_by_role("button").click()
    link = anna.locator(".secret").inner_text()
    tablet = window(viewport={"width": 820, "height": 1180}, has_touch=True)
    tablet.goto(link)
    for field in tablet.locator("input[type=password]").all():
        field.fill(PASSWORD)
    tablet.locator("main button").tap()
    tablet.wait_for_url(f"{line.url}/")
    tablet.get_by_role("link", name="Stopped parts", exact=True).tap()
    tablet.get_by_role("button", name=re.compile("Region 1")).tap()
    expect(tablet.locator("#stage")).to_have_attribute("style", re.compile("scale"))
    small = tablet.evaluate(
        """() => [...document.querySelectorAll('main button, main a.button')]
        .map(e => e.getBoundingClientRect()).filter(r => r.width && r.height < 36).length"""
    )
    assert small == 0, "a finger needs room"
    tablet.get_by_role("button", name="It is good").tap()
    line.until(lambda: line.said() == ["good", "", ""])


def test_german_by_the_browser_and_english_by_choice(line: Line, enter) -> None:
    page = enter(line, "ines", "inspector", locale="de-DE")
    page.get_by_role("link", name="Angehaltene Teile", exact=True).click()
    assert page.locator("html").get_attribute("lang") == "de"
    with page.expect_navigation():
        page.keyboard.press("g")
    line.until(lambda: line.said() == ["good", "", ""])
    page.get_by_role("button", name="English").click()
    page.get_by_role("link", name="Stopped parts", exact=True).wait_for()
    assert page.locator("html").get_attribute("lang") == "en"


def paths_of(line: Line) -> dict[str, str]:
    rows = rows_of(line.station.place)
    defect, failed = (
        next(r.id for r in rows if s in (r.verdict, r.state)) for s in ("defect", "failed")
    )
    return {
        "line": "/",
        "stopped": "/stopped",
        "part": f"/parts/{defect}",
        "failed": f"/parts/{failed}",
        "history": "/history",
        "watch": "/watch",
        "banks": "/banks",
        "people": "/people",
        "refused": "/parts/999",
    }


@pytest.mark.parametrize("language", ["en-US", "de-DE"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_every_page_fits_and_all_may_read_it(
    line: Line, enter, pictures: Path, width: int, scheme: str, language: str
) -> None:
    size = {"width": width, "height": SIZES[width]}
    page = enter(line, "anna", "admin", viewport=size, color_scheme=scheme, locale=language)
    line.station.words.say(CONSOLE, rows_of(line.station.place)[1].id, "good", "only a shadow")
    wrong = []
    for name, path in paths_of(line).items():
        page.goto(f"{line.url}{path}")
        shot = f"station-{name}-{width}-{scheme}-{language[:2]}.png"
        page.screenshot(path=pictures / shot, full_page=True)
        wrong += faults_of(page, name)
    assert wrong == []
