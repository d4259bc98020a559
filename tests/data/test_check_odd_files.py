"""Odd files in a folder: each is either read or named, and none stops the check."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.check.running import check_products
from fedpatchcore.data.groups import group_images
from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.unlike import least_alike
from tests.support.imagefiles import png16
from tests.support.parts import part

SIZE = 96
LOOKS = Looks()


def readable(folder: Path) -> None:
    """Pictures in every mode there is, under suffixes in any case."""
    image = part(1, size=SIZE)
    image.convert("CMYK").save(folder / "cmyk.JPG")
    image.convert("P").save(folder / "palette.PNG")
    image.convert("LA").save(folder / "la.png")
    image.convert("1").save(folder / "bit.Tiff")
    clear = image.convert("RGBA")
    clear.putalpha(128)
    clear.save(folder / "rgba.png")
    image.save(folder / "moves.webp", save_all=True, append_images=[part(2, size=SIZE)], duration=9)
    turned = Image.Exif()
    turned[274] = 8
    image.crop((0, 0, SIZE, 80)).save(folder / "turned.jpeg", exif=turned)
    (folder / "link.png").symlink_to(folder / "la.png")


def unreadable(folder: Path) -> set[str]:
    """Files that are none, one way each."""
    (folder / "zero.png").touch()
    (folder / "words.jpg").write_text("not an image")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    os.mkfifo(folder / "pipe.png")
    whole = folder / "cut.png"
    part(3, size=SIZE).save(whole)
    whole.write_bytes(whole.read_bytes()[:-500])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    (folder / "huge.png").write_bytes(start + b"IHDR" + header + checksum)
    grey = np.asarray(part(4, size=SIZE).convert("L")).astype(np.float32)
    Image.fromarray(grey.astype(np.int32)).save(folder / "wide.tif")
    grey[0, 0] = np.nan
    Image.fromarray(grey).save(folder / "nan.tif")
    names = "zero.png words.jpg gone.png self.png pipe.png cut.png huge.png nan.tif wide.tif"
    return set(names.split())


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "disc" / "train" / "good"
    folder.mkdir(parents=True)
    for seed in range(10, 20):
        part(seed, size=SIZE).save(folder / f"{seed}.png")
    return folder


def test_odd_files_are_read_or_named(good: Path) -> None:
    readable(good)
    (good / "folder.png").mkdir()
    assert not any(LOOKS.at(path).problem for path in list_images(good))
    bad = unreadable(good)
    found = {one.check: one for one in check_products(discover(good.parents[1]))}
    named = {path.name for path in (*found["unreadable"].paths, *found["float"].paths)}
    assert named == bad and "nan.tif" in {path.name for path in found["float"].paths}
    assert {path.name for path in found["float"].paths} == {"nan.tif"}
    assert {path.name for path in found["pages"].paths} == {"moves.webp"}


def test_nothing_else_stumbles_over_them(good: Path) -> None:
    readable(good)
    bad = unreadable(good)
    paths = list_images(good)
    assert bad <= {path.name for path in group_images(paths).alone}
    scored = {path.name for path in least_alike(paths)}
    assert not scored & bad and len(scored) > 15


def test_what_is_seen_of_a_file(good: Path) -> None:
    readable(good)
    turned = LOOKS.at(good / "turned.jpeg")
    assert turned.size == (80, SIZE) and turned.bits == 8
    assert LOOKS.at(good / "bit.Tiff").bits == 1
    assert LOOKS.at(good / "moves.webp").pages == 2
    values = np.full((SIZE, SIZE, 4), 700, np.uint16)
    values[..., 3] = 65535  # the alpha channel is no light
    ten = LOOKS.at(png16(good / "ten.png", values))
    assert (ten.bits, ten.high) == (16, 767)
    assert (LOOKS.at(good / "10.png").low, LOOKS.at(good / "10.png").high) == tuple(
        f(np.asarray(part(10, size=SIZE))) for f in (np.min, np.max)
    )
