"""A room of its own for each test, opened on a copy of one that was made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpatchcore.control.room import Room
from fedpatchcore.web import passwords
from tests.support.control import Flower, open_room


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a room where nothing happened yet: migrations are run once."""
    folder = tmp_path_factory.mktemp("control")
    open_room(folder).close()
    return folder / "state"


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id as it is, with the least of memory and time."""
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    quick = PasswordHash([Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)])
    monkeypatch.setattr(passwords, "_hasher", lambda: quick)
    passwords._nobody.cache_clear()


@pytest.fixture
def flower() -> Flower:
    return Flower()


@pytest.fixture
def room(tmp_path: Path, empty: Path, flower: Flower) -> Iterator[Room]:
    shutil.copytree(empty, tmp_path / "state")
    found = open_room(tmp_path, flower)
    yield found
    found.close()
