"""A station of its own for each test, on a data base that was made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedpatchcore.station.place import Place
from fedpatchcore.station.station import Station
from fedpatchcore.web import passwords
from tests.support.stations import make_station


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a station where nothing happened yet: migrations are run once."""
    folder = tmp_path_factory.mktemp("station") / "state"
    Place.open(folder).close()
    return folder


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id as it is, with the least of memory and time."""
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    quick = PasswordHash([Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)])
    monkeypatch.setattr(passwords, "_hasher", lambda: quick)
    passwords._nobody.cache_clear()


@pytest.fixture
def make(tmp_path: Path, empty: Path) -> Iterator[Callable[..., Station]]:
    """Makes stations over ``tmp_path``; they are closed afterwards."""
    made: list[Station] = []

    def one(**told: Any) -> Station:
        if not (tmp_path / "state").exists():
            shutil.copytree(empty, tmp_path / "state")
        made.append(make_station(tmp_path, **told))
        return made[-1]

    yield one
    for station in made:
        station.close()


@pytest.fixture
def station(make: Callable[..., Station]) -> Station:
    return make()
