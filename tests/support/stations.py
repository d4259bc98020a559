"""Stations over a small bank that was really fitted, stepped by hand or running."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from PIL import Image
from sqlalchemy import select

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.station.application import application
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection
from fedpatchcore.web.serving import CONSOLE
from tests.support.products import picture, write_product

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have another httpx
    from starlette.testclient import TestClient

__all__ = [
    "PASSWORD",
    "browser",
    "camera",
    "drop",
    "encoded",
    "fitted",
    "logged_in",
    "make_station",
    "rows_of",
    "stepped",
]

PASSWORD = "a sentence that nobody guesses"


@cache
def fitted() -> tuple[Path, Path]:
    """A product's folder and a bank of it: two sections, ``plate`` and ``ring``."""
    root = Path(mkdtemp())
    write_product(root / "plate", train=12)
    config = RunConfig(backbone="filterbank", geometry="full", image_size=64, coreset_ratio=0.1)
    made = PatchCore(config)
    good = root / "plate" / "train" / "good"
    made.fit({"plate": good, "ring": good})
    made.save(root / "bank.safetensors")
    return root / "plate", root / "bank.safetensors"


def make_station(tmp: Path, **told: Any) -> Station:
    """A station that is not running: its parts are stepped by hand."""
    (tmp / "in").mkdir(exist_ok=True)
    given = {"station": "line-1", "state": str(tmp / "state"), "bank": str(fitted()[1])}
    given |= {"watch": str(tmp / "in"), "product": "plate", "device": "cpu"}
    given |= {"poll-seconds": 0.02, "settle-seconds": 0.05} | told
    settings = StationSettings.parse(given, where="test")
    return Station(settings, say=lambda line: None)


def stepped(station: Station) -> Bench:
    """The station's bench, as if it had begun."""
    bench, own, _ = station.banks.first()
    station.banks.note(bench, own)
    station.worker.bench = bench
    return bench


def drop(tmp: Path, name: str, seed: int = 0, *, defect: bool = False) -> Path:
    """A part falls into the watched folder."""
    path = tmp / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    picture(seed, defect=defect).save(part, "PNG")
    part.replace(path)
    return path


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def rows_of(place: Place) -> list[Inspection]:
    """All images, by number."""
    with place.database.read() as session:
        return list(session.scalars(select(Inspection).order_by(Inspection.id)))


def browser(station: Station, **headers: str) -> TestClient:
    """Somebody without a log-in, who follows no redirects."""
    return TestClient(
        application(station), "http://127.0.0.1", follow_redirects=False, headers=headers
    )


def camera(station: Station, role: str = "camera", name: str = "cam") -> TestClient:
    """A program with a key."""
    key = station.place.people.make_token(CONSOLE, name, role, "", 1)
    return browser(station, authorization=f"Bearer {key}")


def logged_in(station: Station, name: str = "anna", role: str = "admin") -> TestClient:
    """A browser that came in by a one-time link."""
    secret = station.place.people.invite(CONSOLE, name, role)
    found = browser(station)
    told = {"password": PASSWORD, "again": PASSWORD}
    assert found.post(f"/join/{secret}", data=told).status_code == 303
    return found
