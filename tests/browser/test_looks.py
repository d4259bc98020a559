"""Every page as wide as a phone and as a wall, light and dark: it fits, and all may read it."""

from __future__ import annotations

import pytest

from tests.browser.looks import faults_of

PAGES = {
    "overview": "/overview",
    "wall": "/wall",
    "runs": "/runs",
    "run": "/runs/3",
    "going": "/runs/4",
    "log": "/runs/3/log",
    "compare": "/compare?run=2&run=3",
    "reports": "/compare/reports?run=2&run=3",
    "start": "/start?like=3",
    "schedules": "/schedules",
    "banks": "/banks",
    "bank": "/banks/3",
    "beside": "/banks/2/beside/3",
    "history": "/history?product=plate&site=north",
    "people": "/people",
    "trail": "/trail",
    "refused": "/runs/999",
}
WIDTHS = {390: 844, 1920: 1080}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_and_all_may_read_it(
    filled, come_in, pictures, width: int, scheme: str
) -> None:
    size = {"width": width, "height": WIDTHS[width]}
    page = come_in(filled, "anna", "admin", viewport=size, color_scheme=scheme)
    wrong = []
    for name, path in PAGES.items():
        page.goto(f"{filled.url}{path}")
        if name == "start":
            page.locator("summary").first.click()
        page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
        wrong += faults_of(page, name)
    assert wrong == []


@pytest.mark.parametrize("path", ["/login", "/join/{secret}"])
def test_pages_for_whoever_is_not_known_yet(filled, window, pictures, path: str) -> None:
    from fedpatchcore.control.room import CONSOLE

    page = window(viewport={"width": 390, "height": 844})
    page.goto(filled.url + path.format(secret=filled.room.people.invite(CONSOLE, "", "viewer")))
    name = path.split("/")[1]
    page.screenshot(path=pictures / f"{name}-390-light.png", full_page=True)
    assert faults_of(page, name) == []


def test_letters_of_the_wall_are_large_enough_for_three_metres(filled, come_in) -> None:
    """28 px of a 55-inch screen of 1920 px are 18 mm: 20 minutes of arc from three metres."""
    size = {"width": 1920, "height": 1080}
    page = come_in(filled, "vera", "viewer", viewport=size)
    page.goto(f"{filled.url}/wall")
    small = page.evaluate(
        """() => [...document.querySelectorAll('#live *')]
        .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
        .filter(e => !e.classList.contains('unseen'))
        .map(e => [e.tagName, parseFloat(getComputedStyle(e).fontSize)])
        .filter(([, size]) => size < 28)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
