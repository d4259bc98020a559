"""A site's images, and a folder short enough for a socket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpatchcore.service import link
from fedpatchcore.worker import listening
from tests.support.products import write_product


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two products of one site."""
    write_product(tmp_path / "data" / "plate")
    return write_product(tmp_path / "data" / "ring", seed=900, train=4, good=2, bad=2).parent


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for sockets: their addresses are short."""
    folder = Path(tempfile.mkdtemp(prefix="fpc-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def path(place: Path) -> Path:
    return place / "w.sock"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of this test alone are short."""
    monkeypatch.setattr(link, "PAUSE", 0.05)
    monkeypatch.setattr(listening, "LOOK", 0.05)
