"""Damage: cut, empty, hostile and enormous files are refused by name, nothing else is raised."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpatchcore.data.images import load_image, load_mask, to_pil
from fedpatchcore.errors import ImageError
from tests.support.imagefiles import png16


def test_damaged_exif_is_ignored(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage-not-a-tiff")
    assert load_image(tmp_path / "a.jpg").size == (4, 4)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(
        tmp_path / "whole.tmp", format=Image.registered_extensions()["." + name.split(".")[1]]
    )
    data = (tmp_path / "whole.tmp").read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: max(2, int(len(data) * share))])
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just text, named like a picture\n", "not an 8- or 16-bit PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an 8- or 16-bit PNG"),
        (b"GIF89a" + b"\0" * 40, "not an 8- or 16-bit PNG"),
        (b"\x89PNG\r\n\x1a\n", "decoded|not an 8- or 16-bit PNG"),
    ],
)
def test_no_image_is_refused(tmp_path, data, reason):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for read in (load_image, load_mask):
        with pytest.raises(ImageError, match=f"a.png: .*({reason})"):
            read(path)


def test_missing_folder_and_pipe_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="regular file"):
        load_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="regular file"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])
def test_decompression_bombs_are_refused_on_the_header(tmp_path, side):
    path = png16(tmp_path / "a.png", np.zeros((1, 1, 1), np.uint16))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"a\.png: .*pixels"):
        load_image(path)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_zero_sizes_are_refused(tmp_path, size):
    path = png16(tmp_path / "a.png", np.zeros((1, 1, 1), np.uint16))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"a\.png"):
        load_image(path)
    with pytest.raises(ImageError, match="no pixels"):
        to_pil(Image.new("RGB", size))


def test_warnings_do_not_leak_and_filters_are_restored(tmp_path):
    path = tmp_path / "p.png"
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0] * 768)
    palette.save(path, transparency=b"\x00\xff")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_image(path)
        (tmp_path / "t.tif").write_bytes(b"II*\0\x08\0\0\0\x01\0")
        with pytest.raises(ImageError):
            load_image(tmp_path / "t.tif")
    assert caught == []
    assert warnings.filters == before


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF\x20\0\0\0WEBP", b""]
    ),
)
def test_garbage_never_raises_anything_else(tmp_path_factory, body, magic):
    path = tmp_path_factory.getbasetemp() / "garbage.png"
    path.write_bytes(magic + body)
    try:
        image = load_image(path)
    except ImageError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"
