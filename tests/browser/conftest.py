"""A control room that serves on loopback, and the system's Chromium that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from fedpatchcore.config import RunConfig
from fedpatchcore.control.app import application
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.tables import BankVersion
from fedpatchcore.sealed import sealed
from tests.support.control import PASSWORD, add_run, append, open_room, run_events, small_bank
from tests.support.events import event

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'"
)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
LOADING = "Failed to load resource"  # of a page that is refused; of a file of ours it is a fault


class Played:
    """Where runs go: each becomes a run folder, as a ServerApp writes it, up to a given point."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stopped: list[str] = []
        self.folders: list[Path] = []

    def submit(self, config: Mapping[str, Any]) -> str:
        folder = self.root / str(config["run-name"])
        folder.mkdir()
        (folder / ".identity").write_text(folder.name)
        table = RunConfig.parse(dict(config), where="t").table()
        (folder / "config.json").write_bytes(sealed(table))
        append(folder, run_events(over=False)[:3])
        self.folders.append(folder)
        return f"70{len(self.folders)}"

    def stop(self, run_id: str) -> None:
        self.stopped.append(run_id)

    def online(self) -> int | None:
        return 2

    def close(self) -> None:
        pass


class Place:
    """A room, its address, and the runs that it was handed."""

    def __init__(self, room: Room, url: str, flower: Played, server: uvicorn.Server) -> None:
        self.room = room
        self.server = server
        self.url = url
        self.flower = flower

    def link(self, name: str, role: str, site: str = "") -> str:
        return f"{self.url}/join/{self.room.people.invite(CONSOLE, name, role, site)}"

    def run(self, name: str, auroc: float, at: float, seed: int) -> None:
        add_run(self.room, name, run_events(auroc=auroc, at=at), bank=small_bank(seed))
        self.room.mirror.look()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Served as it is for people, but for Flower."""
    flower = Played(tmp_path / "runs")
    room = open_room(tmp_path, flower)
    port = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application(room), log_level="warning", access_log=False, ws="none", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
    thread.start()
    room.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield Place(room, f"http://127.0.0.1:{port.getsockname()[1]}", flower, server)
    server.should_exit = server.force_exit = True
    thread.join(20)
    room.close()


@pytest.fixture
def filled(place: Place) -> Place:
    """Three runs, two banks in production, one that waits, a run in progress, an alarm."""
    for at, (name, auroc) in enumerate((("monday", 0.94), ("tuesday", 0.95), ("wednesday", 0.96))):
        place.run(name, auroc, 1000.0 * at, at)
        if at < 2:
            place.room.registry.release(CONSOLE, at + 1, "plate", "reviewed with the plant")
    folder = place.room.root / "wednesday"
    (folder / "report.html").write_text("<!DOCTYPE html><title>r</title><h1>Report</h1>")
    shutil.copy(folder / "report.html", place.room.root / "tuesday" / "report.html")
    with place.room.database.read() as session:
        told = session.get(BankVersion, 1).digest
    place.room.words.take(CONSOLE, "north", "plate", told)
    place.room.alarms.take(CONSOLE, "south", "plate", "drift", "scores of good parts rise")
    place.room.schedules.add(CONSOLE, "nightly", {"num-rounds": 2}, "0 2 * * *", 100)
    going = [*run_events(over=False, at=3600), event("lost", 3620, site="south", reason="silent")]
    add_run(place.room, "thursday", going)
    place.room.mirror.look()
    return place


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium without a window, with a new profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a browser of its own: nobody's cookies; whatever it complains of fails the test."""
    opened, complaints = [], []

    def complain(message: Any) -> None:
        ours = message.text.startswith(LOADING) and "/assets/" not in message.location["url"]
        if message.type in ("error", "warning") and not ours:
            complaints.append(message.text)

    def open_one(**more: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | more))
        context.set_default_timeout(60_000)
        opened.append(context)
        page = context.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    sync_api.expect.set_options(timeout=30_000)
    yield open_one
    for context in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def come_in(window: Callable[..., Any]) -> Callable[..., Any]:
    """A person with a role, logged in by the one-time link."""

    def come(place: Place, name: str, role: str, site: str = "", **more: Any) -> Any:
        page = window(**more)
        page.goto(place.link(name, role, site))
        page.get_by_label("Password, 12 characters or more").fill(PASSWORD)
        page.get_by_label("Once again").fill(PASSWORD)
        page.get_by_role("button", name="Come in").click()
        page.wait_for_url(re.compile(r"/(overview|mine)$"))
        return page

    return come


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pages are drawn to; $FEDPATCHCORE_PICTURES names a folder that stays."""
    named = os.environ.get("FEDPATCHCORE_PICTURES")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
