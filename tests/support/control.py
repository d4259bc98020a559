"""A control room over run folders made by hand, and a browser that needs no network."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.control.app import application
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.sealed import sealed
from tests.support.events import asked, evaluated, event, merged, site, trained
from tests.support.fingerprints import FINGERPRINT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have another httpx
    from starlette.testclient import TestClient

__all__ = [
    "PASSWORD",
    "SITES",
    "Flower",
    "add_run",
    "append",
    "browser",
    "csrf_of",
    "logged_in",
    "open_room",
    "program",
    "run_events",
    "small_bank",
]

PASSWORD = "a sentence that nobody guesses"
SITES = ("north", "south")


class Flower:
    """Where runs go in a test: it notes what it was handed."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.wrong: Exception | None = None
        self.connected: int | None = 2

    def submit(self, config: Mapping[str, Any]) -> str:
        if self.wrong:
            raise self.wrong
        self.taken.append(dict(config))
        return f"70{len(self.taken)}"

    def stop(self, run_id: str) -> None:
        self.stopped.append(run_id)

    def online(self) -> int | None:
        return self.connected

    def close(self) -> None:
        pass


def open_room(folder: Path, flower: Flower | None = None, **more: Any) -> Room:
    """A room over ``folder/runs``."""
    (folder / "runs").mkdir(exist_ok=True)
    return Room.open(folder / "runs", folder / "state", flower=flower or Flower(), **more)


def small_bank(seed: int = 0, products: Iterable[str] = ("plate",)) -> MemoryBank:
    """Eight rows a product, of the first site."""
    made = np.abs(np.random.default_rng(seed).standard_normal((8, 6))).astype(np.float32)
    half = made.reshape(8, 2, 3)
    rows = (half / np.linalg.norm(half, axis=2, keepdims=True)).reshape(8, 6)
    part = Section(rows, np.zeros(8, np.int32), 0.5, 0.5, {SITES[0]: 4})
    return MemoryBank(FINGERPRINT, dict.fromkeys(products, part), SITES, 1)


JUDGED = {"found": {"plate": [9, 10]}, "stopped": {"plate": [1, 10]}}


def result(name: str, auroc: float | None, **more: Any) -> dict[str, Any]:
    row = {"product": "plate", "site": name, "kind": "site", "good": 10, "defective": 10}
    return row | {"local": 0.5, "federated": auroc, "found": [9, 10], "stopped": [1, 10]} | more


def run_events(
    *, over: bool = True, auroc: float | None = 0.9, names: Iterable[str] = SITES, at: float = 0
) -> list[dict[str, Any]]:
    """Events of a run of one round; ``at``: seconds later than the customary beginning."""
    names = list(names)
    told = [event("started", at, run="7", resumed_after=0)]
    told += [site(name, at=at + 1) for name in names]
    told += [asked(1, *names, of=1)]
    told += [trained(name, at=at + 8) for name in names]
    if over:
        told += [merged(), *(evaluated(name, plate=auroc, **JUDGED) for name in names)]
        rows = [result(name, auroc) for name in names]
        told += [event("finished", at + 30, seconds=30.0, rows=rows, bank="b", report="r")]
    return told


def append(folder: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """Write events to a run folder's log, as a ServerApp does."""
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in events)


def add_run(
    room: Room,
    name: str,
    events: Iterable[Mapping[str, Any]] | None = None,
    *,
    bank: MemoryBank | None = None,
    **settings: Any,
) -> Path:
    """A run folder as one that was started from the command line."""
    folder = room.root / name
    folder.mkdir(parents=True)
    (folder / ".identity").write_text(f"{name}-1")
    table = RunConfig.parse(
        {k.replace("_", "-"): v for k, v in settings.items()}, where="t"
    ).table()
    (folder / "config.json").write_bytes(sealed(table))
    if bank is not None:
        bank.save(folder / "bank.safetensors")
    append(folder, run_events() if events is None else events)
    return folder


def browser(room: Room, **headers: str) -> TestClient:
    """A browser that is not logged in and follows no redirects."""
    return TestClient(
        application(room), "http://127.0.0.1", follow_redirects=False, headers=headers
    )


def logged_in(room: Room, name: str = "anna", role: str = "admin", site: str = "") -> TestClient:
    """A browser that came in by a one-time link."""
    secret = room.people.invite(CONSOLE, name, role, site)
    found = browser(room)
    told = {"password": PASSWORD, "again": PASSWORD}
    answer = found.post(f"/join/{secret}", data=told)
    assert answer.status_code == 303, answer.text
    return found


def csrf_of(found: TestClient, path: str = "/runs") -> str:
    """The token that forms of this browser carry."""
    return re.search(r'name="csrf" value="([^"]+)"', found.get(path).text)[1]


def program(room: Room, role: str, site: str = "") -> TestClient:
    """A program with a key of this role."""
    key = room.people.make_token(CONSOLE, f"{role} key", role, site, 1)
    return browser(room, authorization=f"Bearer {key}")
