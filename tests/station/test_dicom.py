"""Scans at a station: judged as they are, and of a patient nothing is kept, told or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.station.asking import results_of
from fedpatchcore.station.sending import Sender
from fedpatchcore.station.station import Station
from tests.support.dicoms import SENTINEL, dicom, scan
from tests.support.products import picture
from tests.support.stations import camera, encoded, fitted, logged_in, rows_of, stepped

NAME = f"{SENTINEL}^HANS 1941"
WINDOW = {"WindowCenter": 128, "WindowWidth": 256}


def part(seed: int = 700, *, defect: bool = True, **told: object) -> bytes:
    """A part's picture as a scan, full of a patient."""
    grey = np.asarray(picture(seed, defect=defect).convert("L")).astype(np.int32)
    return dicom(grey, **{**WINDOW, **told})


def judged(station: Station) -> None:
    bench = stepped(station)
    station.watcher.look()
    while station.worker.one(bench):
        pass


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def quick(make: Callable[..., Station]) -> Callable[..., Station]:
    """Stations that take a file at the first look but one."""
    return lambda **told: make(**{"settle-seconds": 1e-9, "patience-seconds": 1e-9, **told})


def looked(station: Station) -> None:
    station.watcher.look()
    judged(station)


def test_a_scan_has_the_verdict_that_predict_has(quick, tmp_path: Path) -> None:
    station = quick()
    for at, syntax in enumerate(("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5")):
        path = put(tmp_path, f"{at}.dcm", part(700 + at, syntax=syntax))
        path.rename(path)
    looked(station)
    for at, row in enumerate(rows_of(station.place)):
        wanted = PatchCore.load(fitted()[1]).predict(tmp_path / "in" / f"{at}.dcm", "plate")
        assert (row.state, row.score) == ("judged", wanted.score), row.error
        assert row.source.startswith("dicom-") and (row.width, row.height) == wanted.image.size


def everything_of(station: Station, tmp_path: Path) -> dict[str, bytes]:
    """All that a station holds, tells and shows."""
    found = {
        f"page {path}": anna.get(path).content for anna in [logged_in(station)] for path in PAGES
    }
    for row in rows_of(station.place):
        anna = logged_in(station, f"a{row.id}")
        for path in (f"/parts/{row.id}", f"/v1/inspections/{row.id}"):
            found[f"page {path}"] = anna.get(path).content
        for path in ("plain.jpg", "overlay.jpg", "thumb.jpg"):
            found[f"{row.id} {path}"] = anna.get(f"/parts/{row.id}/{path}").content
        answer = anna.get(f"/v1/inspections/{row.id}/overlay.png")
        found[f"{row.id} png"] = answer.content
    found["health"] = json.dumps(station.health()).encode()
    found["results"] = json.dumps(
        results_of(station.settings, None, "", "", 99, rows=True)
    ).encode()
    for folder in ("state", "out", "own"):
        for file in (tmp_path / folder).rglob("*"):
            found[f"name of {file.name}"] = str(file.relative_to(tmp_path)).encode()
            if file.is_file():
                found[str(file)] = file.read_bytes()
    return found


PAGES = ("/", "/stopped", "/history", "/history.csv", "/v1/inspections", "/metrics")
FORMS = (SENTINEL, SENTINEL.lower(), "HANS", "19411231")


def test_nothing_of_a_patient_is_kept_told_or_shown(
    quick, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Elements, names of files and folders: of scans taken, refused, torn and too large."""
    posts: list[bytes] = []

    def relay(request: httpx.Request) -> httpx.Response:
        posts.append(request.content + repr(request.headers).encode())
        return httpx.Response(200)

    own = tmp_path / "own" / "plate" / "train" / "good"
    own.mkdir(parents=True)
    for at in range(3):
        (own / f"{at}.png").write_bytes(encoded(picture(at)))
    told = {"out": str(tmp_path / "out"), "webhook": "http://127.0.0.1:9/", "webhook-on": "all"}
    told |= {"training": str(tmp_path / "own"), "largest-mb": 0.2, "answer-seconds": 0.05}
    station = quick(taken="delete", **told)
    station.sender = Sender(
        station.place,
        station.settings,
        client=lambda **how: httpx.Client(transport=httpx.MockTransport(relay), **how),
    )
    put(tmp_path, f"{NAME}/{NAME}.dcm", part())
    put(tmp_path, f"ring/{NAME}.dcm", part(701))
    put(tmp_path, f"{NAME}.png", part(702))  # DICOM, whatever its name says
    put(tmp_path, f"{NAME} torn.dcm", part(703)[:1000])
    put(tmp_path, f"{NAME} frames.dcm", dicom(scan(), NumberOfFrames=1, BurnedInAnnotation="YES"))
    put(tmp_path, f"{NAME} none.dcm", f"{SENTINEL} is no scan".encode())
    put(tmp_path, f"{NAME} large.dcm", dicom(scan(400)))
    put(tmp_path, f"{NAME} large.png", dicom(scan(401)))
    caller, bench = camera(station), stepped(station)
    for at in range(2):
        answer = caller.post("/v1/inspect", params={"name": f"{NAME}.dcm"}, content=part(704 + at))
        assert answer.status_code == 202, answer.text
    answer = caller.post(
        "/v1/inspect", params={"name": NAME, "product": SENTINEL}, content=part(706)
    )
    assert answer.status_code == 400 and "knows no such product" in answer.text
    station.explainer.look(bench, station.stop)
    looked(station)
    while station.sender.look():
        pass
    rows = rows_of(station.place)
    states = [one.state for one in rows]
    assert (states.count("judged"), states.count("failed")) == (5, 5), [one.error for one in rows]
    assert {one.product for one in rows} == {"plate", "ring"}
    assert all(re.fullmatch(r"dicom-[0-9a-f]{24}", one.source) for one in rows)
    assert not list((tmp_path / "in").rglob("*.*"))  # they were taken
    anna = logged_in(station, "bea")
    csrf = re.search(r'name="csrf" value="([^"]+)"', anna.get("/history").text)[1]
    number = next(one.id for one in rows if one.product == "plate" and one.state == "judged")
    for path, form in (("word", {"says": "good"}), ("teach", {"why": "an artefact"})):
        answer = anna.post(f"/parts/{number}/{path}", data={"csrf": csrf, **form})
        assert answer.status_code == 303, answer.text
    assert list(own.glob("station-*.dcm")) and len(posts) == states.count("judged")
    found = everything_of(station, tmp_path) | {f"post {n}": one for n, one in enumerate(posts)}
    found |= {"said": "".join(capfd.readouterr()).encode()}
    assert len(found) > 60 and any(name.endswith("-wal") or ".db" in name for name in found)
    for name, data in found.items():
        for form in FORMS:
            assert form.encode() not in data, (name, form)
            assert form.encode("utf-16-le") not in data, (name, form)


def test_the_same_scan_under_any_name_is_the_same_image(quick, tmp_path: Path) -> None:
    station = quick()
    put(tmp_path, "a.dcm", part())
    looked(station)
    put(tmp_path, "b.dcm", part())
    looked(station)
    caller = camera(station)
    told = caller.post("/v1/inspect?name=c.dcm", content=part()).json()
    assert [one.id for one in rows_of(station.place)] == [told["id"]]
    looked(station)  # and files that stay are not taken in anew
    station.watcher._known.clear()
    looked(station)
    assert len(rows_of(station.place)) == 1


def test_a_folder_names_a_product_of_the_bank_and_nothing_else(quick, tmp_path: Path) -> None:
    station = quick(product="plate")
    for name in ("ring/a.dcm", "MUELLER/b.dcm", "c.dcm"):
        put(tmp_path, name, part(len(name)))
    looked(station)
    assert sorted(one.product for one in rows_of(station.place)) == ["plate", "plate", "ring"]


def test_a_scan_that_explains_is_named_by_a_mark(quick, tmp_path: Path) -> None:
    own = tmp_path / "own" / "plate" / "train" / "good"
    own.mkdir(parents=True)
    for at in range(4):
        (own / f"{NAME} {at}.dcm").write_bytes(part(at, defect=False))
    station = quick(training=str(tmp_path / "own"))
    bench = stepped(station)
    station.explainer.look(bench, station.stop)
    put(tmp_path, "a.dcm", part())
    looked(station)
    (row,) = rows_of(station.place)
    assert row.why and SENTINEL not in json.dumps(row.why)
    anna = logged_in(station)
    for side in ("here", "there"):
        assert anna.get(f"/parts/1/why/0/{side}.jpg").headers["content-type"] == "image/jpeg"
    assert anna.get("/parts/1").status_code == 200


def test_without_the_extra_a_scan_is_refused_and_not_kept(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    data = part()
    for name in [one for one in sys.modules if one.split(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, name, None)
    station = quick()
    answer = camera(station).post("/v1/inspect", content=data)
    assert answer.status_code == 422 and "fedpatchcore[dicom]" in answer.json()["error"]
    assert [one.size for one in rows_of(station.place)] == [0]
