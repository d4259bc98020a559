"""What the network sees of a picture is laid aside when it is decoded for another end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.squares import SPARE, Squares
from tests.support.opened import count_opens
from tests.support.products import write_product

SIDE = 64  # of the small backbone's picture
BYTES = 3 * SIDE * SIDE


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return sorted((write_product(tmp_path / "plate", train=5) / "train" / "good").iterdir())


def test_a_square_is_read_in_place_of_the_file_once(paths, backbone: Backbone, monkeypatch) -> None:
    squares, as_ever = Squares(backbone), [backbone.read(path) for path in paths]
    for path in paths:
        squares.keep(path, backbone.open(path))
    opened = count_opens(monkeypatch)
    for path, pixels in zip(paths, as_ever, strict=True):
        assert np.array_equal(squares.read(path), pixels)
    hashing = dict(opened)  # young files are hashed anew
    assert all(count == 1 for count in hashing.values())
    for path, pixels in zip(paths, as_ever, strict=True):  # given away: decoded again
        assert np.array_equal(squares.read(path), pixels)
    assert all(opened[path] == hashing[path] + 1 for path in paths)


def test_memory_has_a_bound_beyond_which_files_are_decoded_again(
    paths, backbone: Backbone, monkeypatch
) -> None:
    squares = Squares(backbone, most=2 * BYTES)
    read: list[Path] = []
    real = backbone.read
    monkeypatch.setattr(backbone, "read", lambda path: read.append(path) or real(path))
    for path in paths:
        squares.keep(path, backbone.open(path))
    for path in paths:
        squares.read(path)
    assert read == paths[2:]
    squares.keep(paths[4], backbone.open(paths[4]))  # there is room again
    squares.read(paths[4])
    assert read == paths[2:]


def test_of_reduced_decodes_nothing_is_kept(paths, backbone: Backbone, monkeypatch) -> None:
    """A JPEG decoded in full shows the network other pixels than a reduced one."""
    drafted = backbone.fingerprint.model_copy(update={"jpeg_draft": True})
    monkeypatch.setattr(backbone, "fingerprint", drafted)
    squares, read = Squares(backbone), []
    squares.keep(paths[0], backbone.open(paths[0]))
    monkeypatch.setattr(backbone, "read", read.append)
    squares.read(paths[0])
    assert read == paths[:1]


def test_another_process_finds_squares_in_the_cache_until_features_are_there(
    paths, backbone: Backbone, tmp_path: Path, monkeypatch
) -> None:
    root = tmp_path / "cache"
    plain, _, _ = Extractor(backbone).all(paths)
    plain = plain.dense()
    first = Extractor(backbone, cache=SiteCache(root, 1.0))
    for path in paths:
        first.keep(path, backbone.open(path))
    assert len(list(root.glob("*/*"))) == len(paths)
    second = Extractor(backbone, cache=SiteCache(root, 1.0))
    monkeypatch.setattr(backbone, "read", None)
    features, _, tally = second.all(paths)
    features = features.dense()
    assert np.array_equal(features, plain) and tally.extracted == len(paths)
    assert len(list(root.glob("*/*"))) == len(paths)  # features; no square is left
    second.keep(paths[0], backbone.open(paths[0]))  # of no use: its features are there
    assert len(list(root.glob("*/*"))) == len(paths)


def test_the_last_of_a_disk_is_left_to_features(
    paths, backbone: Backbone, tmp_path: Path, monkeypatch
) -> None:
    root = tmp_path / "cache"
    cache = SiteCache(root, 1.0)
    monkeypatch.setattr(cache, "room", lambda: SPARE)
    tool = Extractor(backbone, cache=cache)
    for path in paths:
        tool.keep(path, backbone.open(path))
    assert not list(root.glob("*/*"))
    monkeypatch.setattr(backbone, "read", None)  # in memory: no file is decoded again
    assert tool.all(paths)[2].extracted == len(paths)
    assert len(list(root.glob("*/*"))) == len(paths)  # features


def test_a_cache_that_is_not_there_yet_has_its_disk_s_room(tmp_path: Path) -> None:
    free = SiteCache(tmp_path / "not" / "yet", 1.0).room()
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
