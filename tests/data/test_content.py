"""The hash of a file's content: remembered while the file stays, never longer."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fedpatchcore.data import content
from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import ImageError

NS = 10**9


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose bytes were read, in order."""
    seen: list[Path] = []
    read = content.hashed
    monkeypatch.setattr(content, "hashed", lambda f, path: (seen.append(path), read(f, path))[1])
    monkeypatch.setattr(content, "_known", content._Known())
    return seen


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch):
    """Let the clock show so many seconds more."""
    shown, real = [0.0], content.time.time_ns
    monkeypatch.setattr(content.time, "time_ns", lambda: real() + int(shown[0] * NS))

    def move(seconds: float) -> None:
        shown[0] += seconds

    return move


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def test_a_settled_file_is_read_once(tmp_path: Path, reads, later) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    later(60)
    assert [content_hash(file), content_hash(str(file)), content_hash(file)] == [digest(b"one")] * 3
    assert reads == [file]


def test_a_young_file_is_read_every_time(tmp_path: Path, reads) -> None:
    """Two writes within one tick of the file system's clock leave the same times."""
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    told = file.stat()
    assert content_hash(file) == digest(b"one")
    file.write_bytes(b"two")  # as long as before
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert content_hash(file) == digest(b"two")
    assert len(reads) == 2


def test_a_change_in_place_is_noticed_though_size_and_mtime_are_as_before(
    tmp_path: Path, reads, later
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    told = file.stat()
    later(60)
    assert content_hash(file) == digest(b"one")
    with file.open("r+b") as opened:
        opened.write(b"two")
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (told.st_mtime_ns, told.st_size)
    assert content_hash(file) == digest(b"two")  # by the time of the inode's change


def test_a_file_put_in_its_place_is_noticed(tmp_path: Path, later) -> None:
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    later(60)
    assert content_hash(file) == digest(b"one")
    other.replace(file)
    assert content_hash(file) == digest(b"two")


def test_a_clock_that_was_set_back_costs_reading_alone(tmp_path: Path, reads, later) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    later(-3600)
    assert content_hash(file) == content_hash(file) == digest(b"one")
    assert len(reads) == 2


def test_what_cannot_be_read_is_said_each_time(tmp_path: Path, later) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    later(60)
    content_hash(file)
    file.unlink()
    for path in (file, tmp_path, tmp_path / "none.png"):
        with pytest.raises(ImageError):
            content_hash(path)
