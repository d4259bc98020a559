"""HTTP: an image in, its verdict out; what is too large, too fast or foreign is refused."""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.station.application import application
from fedpatchcore.station.pages import PAGES
from fedpatchcore.station.roles import PUBLIC, ROLES, ROUTES, allows
from fedpatchcore.station.station import Station
from fedpatchcore.web.pages import live
from tests.support.products import picture
from tests.support.stations import (
    browser,
    camera,
    drop,
    encoded,
    fitted,
    logged_in,
    rows_of,
    stepped,
)


@pytest.fixture
def running(make: Callable[..., Station]) -> Station:
    """A station that judges by itself, and watches nothing."""
    station = make(watch="")
    station.start()
    return station


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_each_format_has_the_detectors_verdict(running: Station, tmp_path: Path, kind: str) -> None:
    data = encoded(picture(700, defect=True), kind)
    answer = camera(running).post("/v1/inspect?product=ring&name=a", content=data)
    assert answer.status_code == 200, answer.text
    (tmp_path / "same").write_bytes(data)
    wanted, told = PatchCore.load(fitted()[1]).predict(tmp_path / "same", "ring"), answer.json()
    assert (told["score"], told["threshold"]) == (wanted.score, wanted.threshold)
    assert told["verdict"] == ("defect" if wanted.defective else "ok")
    assert len(told["regions"]) == len(wanted.regions) and told["station"] == "line-1"


def test_the_same_image_sent_again_is_the_same_image(running: Station) -> None:
    caller, data = camera(running), encoded(picture(1))
    told = [caller.post("/v1/inspect?name=a", content=data).json() for _ in range(3)]
    assert told[0] == told[1] == told[2]
    other = caller.post("/v1/inspect?name=b", content=data).json()
    assert other["id"] != told[0]["id"] and other["score"] == told[0]["score"]
    assert len(rows_of(running.place)) == 2


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it is ``side`` pixels square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 999)), chunk(b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("data", "status", "why"),
    [
        (b"", 415, "no PNG"),
        (b"GIF89a" + bytes(50), 415, "no PNG"),
        (b"--x\r\nform", 415, "not a form"),
        (encoded(picture(1))[:500], 422, "truncated"),
        (bomb(17_321), 422, "pixels"),  # 300 megapixels in 1 kB
        (bomb(60_000), 422, ""),
    ],
)
def test_what_is_no_image_is_refused_in_a_line(
    running: Station, data: bytes, status: int, why: str
) -> None:
    answer = camera(running).post("/v1/inspect?name=x", content=data)
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert why in told and "\n" not in told and str(running.place.folder) not in told
    assert running.health()["well"]


def test_size_and_rate_are_bounded(make: Callable[..., Station]) -> None:
    station = make(watch="", **{"largest-mb": 0.02, "requests-a-minute": 3, "answer-seconds": 0.05})
    caller, data = camera(station), encoded(picture(1))
    assert caller.post("/v1/inspect", content=data + bytes(30_000)).status_code == 413

    def pieces() -> Iterator[bytes]:
        yield data

    assert caller.post("/v1/inspect", content=pieces()).status_code == 411
    assert caller.post("/v1/inspect", content=data).status_code == 202  # nobody judges here
    refused = caller.post("/v1/inspect", content=data)
    assert refused.status_code == 429 and "requests-a-minute" in refused.json()["error"]
    other = camera(station, name="other")  # one camera's haste is no other's
    assert other.post("/v1/inspect?name=o", content=data).status_code == 202


def test_a_full_queue_is_told(make: Callable[..., Station]) -> None:
    station = make(watch="", **{"most-waiting": 1, "answer-seconds": 0.05})
    caller = camera(station)
    first = caller.post("/v1/inspect?name=1", content=encoded(picture(1)))
    assert first.status_code == 202 and first.json()["state"] == "waiting"
    answer = caller.post("/v1/inspect?name=2", content=encoded(picture(2)))
    assert answer.status_code == 503 and "again later" in answer.json()["error"]
    bench = stepped(station)
    station.worker.one(bench)
    told = caller.get(first.headers["location"]).json()
    assert told["state"] == "judged" and told["id"] == first.json()["id"]


def test_a_caller_with_a_certificate_needs_no_key(make: Callable[..., Station], tmp_path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    told = {"client-ca": "ca", "certfile": "cert", "keyfile": "key"}
    station = make(watch="", **{key: str(tmp_path / name) for key, name in told.items()})
    caller = browser(station)
    assert caller.get("/v1/health").status_code in (200, 503)
    assert caller.get("/history").status_code == 403  # and no more than a camera may


def routes() -> list[tuple[str, str]]:
    found = [route for router in PAGES for route in router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    return [(method, route.path) for route in found for method in route.methods]


def test_the_table_names_every_route_there_is_and_no_other(station: Station) -> None:
    found, app = routes(), application(station)
    assert len(found) == len(set(found)) and set(found) == set(ROUTES)
    assert len(app.routes) == len(PAGES)  # and nothing is mounted beside them
    assert set(ROUTES.values()) <= {PUBLIC, *ROLES}


@pytest.mark.parametrize("role", ["nobody", *ROLES])
def test_each_route_answers_to_each_role_as_the_table_says(
    station: Station, tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def once(*_: object) -> Iterator[str]:
        yield "event: hello\n\n"

    monkeypatch.setattr(live, "changes", once)
    drop(tmp_path, "a.png", 700, defect=True)
    bench = stepped(station)
    station.watcher.look()
    station.worker.one(bench)
    caller = browser(station) if role == "nobody" else camera(station, role)
    for method, path in routes():
        least = ROUTES[method, path]
        told = {"name": "web.css", "token_id": "99"}  # 1 is the caller's own key
        filled = re.sub(r"\{(\w+)\}", lambda found, told=told: told.get(found[1], "1"), path)
        answer = caller.request(method, filled)
        may = least == PUBLIC or (role != "nobody" and allows(role, least))
        refused = answer.status_code in (401, 403) or "/login" in answer.headers.get("location", "")
        assert refused is not may or path in ("/login", "/logout", "/join/{secret}"), (
            method,
            path,
            answer,
        )


def test_no_route_returns_anothers_image(station: Station, tmp_path: Path) -> None:
    """Pictures are of this station's rows, or of its own training folder, and of nothing else."""
    (tmp_path / "secret.png").write_bytes(encoded(picture(9)))
    drop(tmp_path, "a.png", 700, defect=True)
    bench = stepped(station)
    station.watcher.look()
    station.worker.one(bench)
    from fedpatchcore.station.tables import Inspection

    with station.place.database.write() as session:
        row = session.get(Inspection, 1)
        outside = {"image": str(tmp_path / "secret.png"), "there": [0, 0, 9, 9]}
        row.why = [outside | {"here": [0, 0, 9, 9], "region": 0, "distance": 0.0}]
    caller = camera(station, "admin")
    assert caller.get("/parts/1/why/0/here.jpg").status_code == 200
    assert caller.get("/parts/1/why/0/there.jpg").status_code == 404
    for path in ("/parts/2/plain.jpg", "/parts/1/..%2f..%2fsecret.jpg", "/assets/..%2fstation.db"):
        assert caller.get(path).status_code == 404


def test_pictures_are_drawn_anew_and_in_the_images_own_pixels(running: Station) -> None:
    caller = camera(running, "viewer")
    data = encoded(picture(700, size=80, defect=True)) + b"what stood behind the image"
    number = caller.post("/v1/inspect", content=data).json()["id"]
    for kind in ("heatmap", "overlay"):
        answer = caller.get(f"/v1/inspections/{number}/{kind}.png")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content[16:24] == struct.pack(">II", 80, 80)
        assert b"what stood" not in answer.content
    assert camera(running).get(f"/v1/inspections/{number}/overlay.png").status_code == 403


def test_a_person_says_takes_back_and_teaches(make: Callable[..., Station], tmp_path: Path) -> None:
    training = tmp_path / "own" / "plate" / "train" / "good"
    training.mkdir(parents=True)
    station = make(training=str(tmp_path / "own"), **{"taught-a-day": 1})
    bench = stepped(station)
    for at in range(2):
        drop(tmp_path, f"{at}.png", 700 + at, defect=True)
    station.watcher.look()
    while station.worker.one(bench):
        pass
    anna = logged_in(station)

    def post(path: str, **form: str):
        csrf = re.search(r'name="csrf" value="([^"]+)"', anna.get("/history").text)[1]
        return anna.post(path, data={"csrf": csrf, **form})

    assert anna.get("/stopped").text.count("/parts/1/word") == 1
    assert post("/parts/1/word", says="defect", note="a <b>scratch</b>").status_code == 303
    assert "/parts/2/word" in anna.get("/stopped").text  # the next one came up
    assert "a &lt;b&gt;scratch" in anna.get("/parts/1").text
    assert post("/parts/1/teach", why="x").status_code == 400  # a defect does not teach
    assert post("/parts/1/word", says="good").status_code == 303
    assert [one.said for one in rows_of(station.place)] == ["good", ""]
    assert post("/parts/undo").headers["location"] == "/parts/1"
    assert rows_of(station.place)[0].said == "defect"  # the word before counts again
    post("/parts/1/word", says="good")
    post("/parts/2/word", says="good")
    real = station.words.real()[0]
    assert (real.false_alarms.count, real.false_alarms.of) == (2, 2)
    assert real.false_alarms.interval[0] > 0.2
    assert post("/parts/1/teach").status_code == 400  # without a reason
    assert post("/parts/1/teach", why="scratch is allowed").status_code == 303
    (file,) = training.iterdir()
    assert file.read_bytes() == station.place.image(rows_of(station.place)[0].digest).read_bytes()
    again = post("/parts/2/teach", why="too")
    assert again.status_code == 400 and "taught-a-day" in again.text
    assert post("/parts/1/unteach").status_code == 303 and not list(training.iterdir())
    trail = "\n".join(station.place.trail.lines())
    for what in ("part.said", "part.undone", "part.taught", "part.untaught"):
        assert what in trail
    station.place.trail.verify()


def test_history_by_shift_product_and_verdict(make: Callable[..., Station], tmp_path: Path) -> None:
    from datetime import datetime

    from fedpatchcore.station.tables import Inspection

    station = make()
    bench = stepped(station)
    for at, (hour, product) in enumerate(((5, "plate"), (7, "plate"), (15, "ring"), (23, "ring"))):
        drop(tmp_path, f"{product}/{at}.png", 700, defect=True)
        station.watcher.look()
        station.worker.one(bench)
        with station.place.database.write() as session:
            row = session.get(Inspection, at + 1)
            row.arrived_at = round(datetime(2026, 3, 2, hour, 30).timestamp() * 1000)
    caller = camera(station, "viewer")

    def shown(query: str) -> list[str]:
        text = caller.get(f"/history?{query}").text
        return sorted(re.findall(r'<a href="/parts/(\d)"', text))

    assert shown("") == ["1", "2", "3", "4"]
    assert shown("day=2026-03-02") == ["2", "3", "4"]  # 05:30 is the night shift of the day before
    assert shown("day=2026-03-01&shift=2") == ["1"]
    assert shown("day=2026-03-02&shift=0") == ["2"]
    assert shown("day=2026-03-02&product=ring") == ["3", "4"]
    assert shown("verdict=ok") == []
    rows = caller.get("/history.csv?day=2026-03-02&shift=2").text.splitlines()
    assert len(rows) == 2 and rows[0].startswith("id,image,product") and ",ring," in rows[1]
    for query in ("day=yesterday", "day=2026-03-02&shift=9", "verdict=x", "page=-1"):
        assert caller.get(f"/history?{query}").status_code == 400


def test_metrics_and_health(running: Station) -> None:
    caller = camera(running)
    caller.post("/v1/inspect", content=encoded(picture(700, defect=True)))
    text = caller.get("/metrics").text
    assert 'fedpatchcore_station_images_total{verdict="defect"} 1.0' in text
    assert "fedpatchcore_station_judging_seconds_count 1.0" in text
    assert "fedpatchcore_station_well 1.0" in text
    assert caller.get("/v1/health").json()["well"] is True
    running.worker.trouble = "the data base is locked"
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and not running.health()["well"]:
        time.sleep(0.02)  # the worker takes its word back by itself
    assert running.health()["well"]


def test_each_page_speaks_each_language(station: Station) -> None:
    anna = logged_in(station)
    english, german = (
        anna.get("/stopped", headers={"accept-language": f"{one},en;q=0.5"}).text
        for one in ("en", "de")
    )
    assert "Nothing waits for a person" in english and '<html lang="en">' in english
    assert "Nichts wartet auf einen Menschen" in german and '<html lang="de">' in german


def test_an_admin_makes_links_and_keys_changes_roles_and_ends_them(station: Station) -> None:
    anna = logged_in(station)

    def post(path: str, **form: str):
        csrf = re.search(r'name="csrf" value="([^"]+)"', anna.get("/history").text)[1]
        return anna.post(path, data={"csrf": csrf, **form})

    page = post("/people/invite", name="bea", role="inspector").text
    link = re.search(r"http://127.0.0.1(/join/[^<]+)<", page)[1]
    bea = browser(station)
    told = {"password": "a sentence that nobody guesses", "again": "a sentence that nobody guesses"}
    assert bea.post(link, data=told).status_code == 303
    assert bea.get("/stopped").status_code == 200 and bea.get("/people").status_code == 403
    assert "bea" in anna.get("/people").text and "/people" not in bea.get("/history").text
    assert post("/people/2/role", role="viewer").status_code == 303
    assert post("/people/1/role", role="viewer").status_code == 400  # the last admin stays one
    assert post("/people/2/end").status_code == 303
    assert bea.get("/stopped").status_code == 303  # to the log-in
    page = post("/tokens", name="camera-1", role="camera", days="30").text
    key = re.search(r'class="secret">([^<]+)<', page)[1]
    program = browser(station, authorization=f"Bearer {key}")
    assert program.get("/v1/health").status_code in (200, 503)
    assert key not in anna.get("/people").text and "camera-1" in anna.get("/people").text
    assert post("/tokens/1/end").status_code == 303
    assert program.get("/v1/health").status_code == 401
    german = anna.get("/people", headers={"accept-language": "de"}).text
    assert "Menschen und Schlüssel" in german and "People" not in german
    trail = "\n".join(station.place.trail.lines())
    for what in ("person.invited", "person.role", "person.ended", "key.made", "key.ended"):
        assert what in trail
