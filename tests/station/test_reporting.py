"""Drift alarms reach the control room: once each, later if it is away, and nothing of a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.drift.causes import CAUSES
from fedpatchcore.station.reporting import CAUSES_TOLD, Reports
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Alarm, WatchRow
from fedpatchcore.web.audit import Actor
from tests.support import control as rooms
from tests.support.stations import make_station

BANK = "ab" * 32


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A control room that knows the sites north and south."""
    (tmp_path / "room").mkdir()
    found = rooms.open_room(tmp_path / "room")
    rooms.add_run(found, "one", rooms.run_events(at=1000), bank=rooms.small_bank(0))
    found.mirror.look()
    yield found
    found.close()


@pytest.fixture
def station(make: Callable[..., Station], room: Room, tmp_path: Path) -> Station:
    key = room.people.make_token(CONSOLE, "k", "site", "north", 1)
    (tmp_path / "key").write_text(key)
    told = {"registry": "http://127.0.0.1", "registry-key": str(tmp_path / "key"), "bank": ""}
    station = make(**told)
    station.reports = Reports(station.place, station.settings, client=over(room))
    return station


def over(room: Room, sent: list[Any] | None = None) -> Callable[..., httpx.Client]:
    """A session with it, over no network."""

    def client(**how: Any) -> httpx.Client:
        found = rooms.browser(room, **how["headers"])
        if sent is not None:
            found.event_hooks = {"request": [lambda request: sent.append(request.read())]}
        return found

    return client


def alarmed(station: Station, cause: str = "focus", product: str = "plate") -> None:
    with station.place.database.write() as session:
        row = WatchRow(product=product, bank=BANK, own="", judged_by="federated", threshold=1.0)
        row.begun_at, row.parts, row.state = 1, 7, {}
        session.add(row)
        session.flush()
        alarm = Alarm(product=product, kind="rate", cause=cause, begun_at=1, first_id=4711)
        alarm.watch_id, alarm.told = row.id, {"charts": [{"parts": [4711], "value": 3.25}]}
        session.add(alarm)


def test_it_stands_on_the_overview_and_on_the_sites_own_page(station: Station, room: Room) -> None:
    assert station.reports.look() == 0 and not station.reports.trouble
    alarmed(station)
    assert station.health()["untold_alarms"] == 1
    assert station.reports.look() == 1 and station.reports.look() == 0
    assert station.health()["untold_alarms"] == 0
    words = "pictures are less sharp (lens, focus, motion), since 1970-01-01T00:00:00"
    page = rooms.logged_in(room, "ops", "operator").get("/overview").text
    assert f"north, plate: drift, line-1: {words}, bank {BANK[:12]}" in page and "Seen to" in page
    assert words in rooms.logged_in(room, "nils", "site", "north").get("/mine").text
    assert words not in rooms.logged_in(room, "sara", "site", "south").get("/mine").text
    trail = "\n".join(room.trail.lines())
    assert trail.count("alarm.raised") == 1


def test_only_cause_time_and_bank_are_told(station: Station, room: Room) -> None:
    sent: list[bytes] = []
    station.reports._client = over(room, sent)
    alarmed(station)
    station.reports.look()
    (body,) = [json.loads(one) for one in sent]
    assert set(body) == {"kind", "words", "product"}
    assert "4711" not in str(body) and "3.25" not in str(body)


def test_what_could_not_be_told_is_told_later_and_after_a_restart(
    station: Station, room: Room, tmp_path: Path
) -> None:
    def away(**how: Any) -> httpx.Client:
        def nobody(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("nobody there")

        return httpx.Client(transport=httpx.MockTransport(nobody), base_url=how["base_url"])

    station.reports._client = away
    alarmed(station)
    alarmed(station, "light", "ring")
    alarmed(station, "grain", "disc")
    with station.place.database.write() as session:
        session.get(Alarm, 3).ended_at = 5  # a person was quicker
    assert station.reports.look() == 0 and "nobody there" in station.reports.trouble
    assert station.health()["untold_alarms"] == 2 and station.health()["well"]
    settings = station.settings
    station.close()
    told = {"bank": "", "registry": settings.registry, "registry-key": settings.registry_key}
    again = make_station(tmp_path, **told)
    again.reports._client = over(room)
    assert again.reports.look() == 2 and not again.reports.trouble
    page = rooms.logged_in(room, "ops", "operator").get("/overview").text
    assert "north, ring: drift" in page and "disc" not in page
    again.close()


@pytest.mark.parametrize(
    ("role", "site", "why"),
    [("viewer", "", "site's own key"), ("", "", "")],
)
def test_a_key_that_may_not_is_told(
    station: Station, room: Room, tmp_path: Path, role: str, site: str, why: str
) -> None:
    key = room.people.make_token(CONSOLE, "x", role, site, 1) if role else "none"
    (tmp_path / "key").write_text(key)
    alarmed(station)
    assert station.reports.look() == 0 and why in station.reports.trouble
    assert station.reports.trouble and "\n" not in station.reports.trouble
    assert station.health()["untold_alarms"] == 1


def test_every_cause_has_its_words() -> None:
    assert set(CAUSES_TOLD) == set(CAUSES)


def test_without_a_control_room_nothing_is_told(make: Callable[..., Station]) -> None:
    station = make()
    alarmed(station)
    assert station.reports is None and station.health()["untold_alarms"] == 0
    station.drift.see(Actor("anna"), 1, "mended")
