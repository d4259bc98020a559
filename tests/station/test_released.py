"""A station pulls the released bank by itself: checked in every way, or the old one goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.deploy.signed import statement
from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.station import released
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from tests.support.stations import fitted


class Room:
    """A control room's side, and what it was told."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = base64.b64encode(public).decode()
        self.data, self.version, self.told = fitted()[1].read_bytes(), "1", []
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self.sign: Callable[[str], bytes] = lambda digest: self.key.sign(statement("plate", digest))
        self.away = False

    def client(self, **how: Any) -> httpx.Client:
        def answer(request: httpx.Request) -> httpx.Response:
            if self.away:
                raise httpx.ConnectError("nobody there")
            assert request.headers["authorization"] == "Bearer secret"
            if request.method == "POST":
                self.told.append(json.loads(request.content))
                return httpx.Response(200, json={})
            digest = hashlib.sha256(self.data).hexdigest()
            told = {"etag": f'"{digest}"', "x-bank-version": self.version}
            told["x-bank-signature"] = base64.b64encode(self.sign(digest)).decode()
            if request.headers.get("if-none-match") == f'"{digest}"':
                return httpx.Response(304, headers=told)
            return httpx.Response(200, headers=told, content=self.spoil(self.data))

        transport = httpx.MockTransport(answer)
        return httpx.Client(transport=transport, base_url=how["base_url"], headers=how["headers"])


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def station(make: Callable[..., Station], tmp_path: Path, room: Room) -> Station:
    (tmp_path / "key").write_text("secret\n")
    told = {"registry": "http://127.0.0.1:1", "registry-key": str(tmp_path / "key"), "bank": ""}
    station = make(**told, **{"registry-signed-by": room.public})
    station.released._client = room.client
    return station


def begin(station: Station) -> None:
    station.released.look()
    station.switch.begin()
    station.worker.bench = station.worker._next


def other() -> MemoryBank:
    one = MemoryBank.load(fitted()[1])
    return replace(one, round=one.round + 1)


def test_a_released_bank_judges_and_the_control_room_is_told_which(
    station: Station, room: Room
) -> None:
    begin(station)
    first = station.worker.bench.digest
    assert first == hashlib.sha256(room.data).hexdigest() and station.released.trouble == ""
    station.released.look()
    assert [one["digest"] for one in room.told] == [first]  # once it judges, and once
    room.data, room.version = other().to_bytes(), "2"
    station.released.look()
    assert station.switch.renew(station.worker.bench)
    station.worker.bench = station.worker._next
    station.released.look()
    assert [one["digest"] for one in room.told] == [first, station.worker.bench.digest]
    assert [one.version for one in station.banks.used()] == ["2", "1"]


def test_another_bank_that_judges_is_told_before_the_next_look(
    station: Station, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "NOTICED", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=station.released.run, args=(stop,))
    thread.start()  # the next look would be in five minutes

    def told(count: int) -> list[str]:
        for _ in range(1000):
            if len(room.told) >= count:
                break
            stop.wait(0.01)
        return [one["digest"] for one in room.told]

    try:
        for _ in range(1000):
            if station.released.version:  # its first look has brought the bank
                break
            stop.wait(0.01)
        assert told(0) == [] and station.worker.bench is None
        station.switch.begin()
        station.worker.bench = station.worker._next
        first = station.worker.bench.digest
        assert told(1) == [first]
        room.away = True  # what cannot be told is not tried again and again
        station.worker.bench = SimpleNamespace(digest="f" * 64)
        while not station.released.trouble:
            stop.wait(0.01)
        room.away = False
        stop.wait(0.2)
        assert told(1) == [first]
        station.released.look()
        assert told(2) == [first, "f" * 64] and not station.released.trouble
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("how", ["cut", "changed", "unsigned", "features", "away", "foreign"])
def test_what_is_not_the_released_bank_is_refused_and_the_old_one_goes_on(
    station: Station, room: Room, how: str
) -> None:
    begin(station)
    bench = station.worker.bench
    room.data, one = other().to_bytes(), other()
    if how == "cut":
        room.spoil = lambda data: data[:-9]
    elif how == "changed":
        room.spoil = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    elif how == "unsigned":
        room.sign = lambda digest: Ed25519PrivateKey.generate().sign(b"x")
    elif how == "features":
        named = one.fingerprint.model_copy(update={"recipe": 99})
        room.data = replace(one, fingerprint=named).to_bytes()
    elif how == "foreign":
        room.data = b"no bank" * 99
    else:
        room.away = True
    station.released.look()
    assert station.released.trouble and "\n" not in station.released.trouble
    assert station.health()["registry"] == station.released.trouble and station.health()["well"]
    assert not station.switch.renew(bench)
    assert station.banks.in_use().digest == bench.digest
    assert [one["digest"] for one in room.told] == []


def test_without_a_control_room_the_kept_bank_judges_and_without_one_none(
    station: Station, room: Room
) -> None:
    room.away = True
    with pytest.raises(FedPatchCoreError):
        begin(station)
    room.away = False
    begin(station)
    room.away = True
    begin(station)
    assert station.worker.bench is not None


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"registry-key": ""}, "takes a key"),
        ({"product": ""}, "product"),
        ({"product": "../x"}, "product"),
        ({"bank": "b.safetensors"}, "one place"),
    ],
)
def test_settings_that_cannot_pull_are_refused(told: dict[str, str], why: str) -> None:
    given = {"station": "a", "registry": "https://x", "registry-key": "k", "product": "plate"}
    with pytest.raises(ConfigError, match=why):
        StationSettings.parse(given | told, where="test")
