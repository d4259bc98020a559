"""What is wrong with how a page looks: wider than its window, or hard to use for some people."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

GRAVE = ("serious", "critical")


def faults_of(page: Any, name: str) -> list[str]:
    """A line for each fault of the page that is open; axe-core's grave findings among them."""
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found = [f"{name}: {wide} px wider than the window"] if wide > 0 else []
    return found + [
        f"{name}: {one['id']}: {one['help']}: {one['nodes'][0]['html'][:150]}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in GRAVE
    ]
