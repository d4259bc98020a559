"""The forms of a station's pages: whatever is sent, they take it or refuse it in one line."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import StationError
from fedpatchcore.station.proposals import FEWEST
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Alarm, Inspection
from fedpatchcore.web.moments import now
from fedpatchcore.web.serving import CONSOLE
from tests.hostile.doors import Door
from tests.hostile.mutation import mutated
from tests.support.products import picture
from tests.support.stations import PASSWORD, camera, encoded, fitted, make_station

__all__ = ["STATION_DOORS"]

LINE = b"\n"
EVERY = 100  # requests between two looks at the whole trail
PATHS = frozenset(range(0x21, 0x7F)) - set(b"?#%")


def station(folder: Path) -> Station:
    """One of two banks, with an alarm and a proposal, where people said something of parts."""
    file = folder / "bank.safetensors"
    shutil.copy(fitted()[1], file)
    (folder / "own" / "plate").mkdir(parents=True)
    told = {"watch": "", "drift": False, "training": str(folder / "own")}
    made = make_station(folder, bank=str(file), **told)
    made.switch.begin()
    replace(MemoryBank.load(file), round=7).save(file)
    assert made.switch.renew(made.worker.judges())
    bench = made.worker.judges()
    limit = bench.limit("plate")
    kept = [made.place.keep(encoded(picture(at))) for at in range(FEWEST + 6)]
    with made.place.database.write() as session:
        for at in range(FEWEST + 6):
            row = Inspection(source=f"{at}.png", digest=kept[at], size=1, product="plate")
            row.arrived_at, row.urgent, row.state, row.verdict = now(), 0, "judged", "defect"
            row.score, row.threshold, row.watched = limit * (1.1 + at / 100), limit, 1
            row.bank, row.judged_by = bench.digest, "federated"
            row.said = "good" if at < 6 else "defect"
            session.add(row)
        told = {"charts": [], "usual": [], "training": []}
        for number in (1, 2):
            alarm = Alarm(product="ring", kind="rate", cause="light", begun_at=now(), told=told)
            alarm.first_id = number
            session.add(alarm)
    made.place.people.join(made.place.people.invite(CONSOLE, "eva", "viewer"), "eva", PASSWORD, "")
    return made


def forms(made: Station) -> list[tuple[str, dict[str, str]]]:
    """Each form that a station's pages have, in an order in which all are taken."""
    (limit,) = made.thresholds.limits()
    link = made.place.people.invite(CONSOLE, "kim", "viewer")
    (proposal,) = limit.proposals
    taken = {
        "product": "plate",
        "kind": "raise",
        "value": repr(proposal.value),
        "why": "too strict",
    }
    return [
        ("/thresholds/accept", taken),
        ("/thresholds/back", {"product": "plate"}),
        ("/banks/back", {"why": "stops too much"}),
        ("/banks/newer", {}),
        ("/watch/1/mended", {"note": "lens cleaned"}),
        ("/watch/2/usual", {"note": ""}),
        ("/parts/3/word", {"says": "good", "note": "a scratch is allowed"}),
        ("/parts/3/teach", {"why": "a scratch is allowed"}),
        ("/parts/3/unteach", {}),
        ("/parts/3/undo", {}),
        ("/parts/4/word", {"says": "unsure", "note": ""}),
        ("/parts/undo", {}),
        ("/people/invite", {"name": "bea", "role": "inspector", "site": ""}),
        ("/tokens", {"name": "camera-1", "role": "camera", "site": "", "days": "30"}),
        ("/tokens/2/end", {}),
        ("/language", {"language": "de"}),
        ("/login", {"name": "eva", "password": PASSWORD, "next": "/history"}),
        (f"/join/{link}", {"name": "kim", "password": PASSWORD, "again": PASSWORD}),
    ]


def forms_door(tmp: Path) -> Door:
    """A path and a body, as anybody with an admin's key may send them."""
    made = station(tmp)
    known = forms(made)
    caller, counted = camera(made, "admin"), [0]

    def change(sample: bytes, chance: random.Random) -> bytes:
        path, _, body = sample.partition(LINE)
        if chance.random() < 0.3:
            kept = bytes(one for one in mutated(path, chance) if one in PATHS)
            path = b"/" + kept.lstrip(b"/")
        return path + LINE + (mutated(body, chance) if chance.random() < 0.9 else body)

    def take(data: bytes) -> None:
        path, _, body = data.partition(LINE)
        kind = "application/json" if body[:1] == b"{" else "application/x-www-form-urlencoded"
        answer = caller.post(quote(path), content=body, headers={"content-type": kind})
        counted[0] += 1
        if counted[0] % EVERY == 0:
            made.place.trail.verify()
        if answer.status_code >= 400:
            assert answer.status_code < 500, (path, answer.status_code, answer.text[:300])
            told = said(answer)
            assert "Traceback" not in told and str(made.place.folder) not in told
            raise StationError(told)

    samples = [path.encode() + LINE + urlencode(told).encode() for path, told in known]
    return Door(samples, change, take, close=made.close)


def said(answer: Any) -> str:
    """Why something was refused, in JSON or, of forms that are shown again, on the page."""
    if "json" in answer.headers["content-type"]:
        return answer.json()["error"]
    return re.search(r'role="alert">([^<]*)<|<p>([^<]*)</p>', answer.text)[0]


STATION_DOORS: dict[str, Callable[[Path], Door]] = {"form at a station": forms_door}
