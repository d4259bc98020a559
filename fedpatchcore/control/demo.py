"""A control room with something in it: five plants, three runs, banks, pulls, an alarm.

What happens, happens as at a real federation: runs go to Flower, plants fetch banks over HTTP with
keys of their own, and the page can be watched meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from fedpatchcore.control.mirror import OVER
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import Alias, Run, Site
from fedpatchcore.deploy.pulling import pull, released
from fedpatchcore.errors import ControlError, FedPatchCoreError
from fedpatchcore.web.audit import Actor

__all__ = ["SETTINGS", "story"]

DEMO = Actor("demo")
SETTINGS = {
    "backbone": "filterbank",
    "geometry": "full",
    "global-bank-size": 1500,
    "heatmaps": 1,
    "threads": 1,
}
RUNS: Mapping[str, dict[str, Any]] = {
    "monday": {"coreset-size": 150},
    "tuesday": {"coreset-size": 600},
    "wednesday": {"coreset-size": 300, "num-rounds": 2},
}
RUN_SECONDS = 1800


def story(room: Room, url: str, data: Path, say: Callable[[str], None]) -> None:
    """Everything, once; a room where it has happened is left as it is. Raises ControlError.

    Args:
        url: where the room is served; plants ask there.
        data: images, a folder a site.
    """
    with room.database.read() as session:
        known = set(session.scalars(select(Run.folder)))
    if known & RUNS.keys():
        say("the demo's runs are there already")
        return
    _until(lambda: _healthy(url), 60, f"{url} does not answer")
    room.starter.save_preset(DEMO, "demo", SETTINGS | {"data": str(data)})
    keys: dict[str, str] = {}
    for at, (name, own) in enumerate(RUNS.items()):
        say(f"run {name} of three: five virtual plants, about a minute")
        settings = SETTINGS | {"data": str(data)} | own
        number = room.starter.start(DEMO, settings, name)
        _until(lambda number=number: _over(room, number), RUN_SECONDS, f"run {name} does not end")
        room.mirror.look()
        keys = keys or _keys(room)
        if at == 0:
            _release(room, "the first bank of all")
            _pull(url, keys, room.root.parent / "plants")
        elif at == 1:
            _release(room, "four times the rows")
            some = dict(list(keys.items())[:3])  # the others have not asked yet
            _pull(url, some, room.root.parent / "plants")
    last, key = list(keys.items())[-1]
    told = {"kind": "drift", "words": "scores of good parts rise (said by the demo)"}
    with room.database.read() as session:
        told["product"] = session.get(Site, last).products[0]
    header = {"authorization": f"Bearer {key}"}
    httpx.post(f"{url}/api/alarms", data=told, headers=header).raise_for_status()
    room.schedules.add(DEMO, "nightly", SETTINGS | {"data": str(data)}, "0 2 * * *", 50)
    say("done: two banks were released, one waits, a plant raised an alarm; look around")


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _over(room: Room, number: int) -> bool:
    with room.database.read() as session:
        run = session.get(Run, number)
    if run.state in OVER and run.state != "finished":
        raise ControlError(f"run {run.folder} {run.state}: {run.headline}")
    return run.state == "finished"


def _until(there: Callable[[], bool], seconds: float, wrong: str) -> None:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise ControlError(wrong)
        time.sleep(0.5)


def _keys(room: Room) -> dict[str, str]:
    """A key for each plant that answered the roll call."""
    with room.database.read() as session:
        names = list(session.scalars(select(Site.name).order_by(Site.name)))
    return {
        name: room.people.make_token(DEMO, f"station {name}"[:64], "site", name, 30)
        for name in names
    }


def _release(room: Room, note: str) -> None:
    with room.database.read() as session:
        waiting = session.execute(
            select(Alias.product, Alias.version_id).where(Alias.alias == "candidate")
        ).all()
    for product, version in waiting:
        try:
            room.registry.release(DEMO, version, product, note)
        except FedPatchCoreError:  # a gate that is not passed takes a person's word
            room.registry.release(DEMO, version, product, f"{note}; looked at", anyway=True)
    room.mirror.changed()


def _pull(url: str, keys: Mapping[str, str], folder: Path) -> None:
    for site, key in keys.items():
        for product in released(url, key):
            pull(url, key, product, folder / site)
