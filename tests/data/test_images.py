"""Decoding: every format and mode is written to disk and read back as it was."""

import hashlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from fedpatchcore.data import images
from fedpatchcore.data.content import content_hash
from fedpatchcore.data.dicom import DICOM_SUFFIXES
from fedpatchcore.data.images import (
    IMAGE_SUFFIXES,
    list_images,
    load_image,
    load_mask,
)
from fedpatchcore.errors import DataError, ImageError
from tests.support.imagefiles import RED_BLUE, pixels, png16

EXACT = {
    ".webp": {"lossless": True},
    ".jpg": {"quality": 100, "subsampling": 0},
    ".jpeg": {"quality": 100, "subsampling": 0},
}  # options that make Pillow's writers (nearly) lossless


# --- formats and modes ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - DICOM_SUFFIXES))
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_is_read(tmp_path, suffix, upper):
    path = tmp_path / f"a{suffix.upper() if upper else suffix}"
    big = np.kron(RED_BLUE, np.ones((16, 16, 1), np.uint8))
    Image.fromarray(big).save(path, **EXACT.get(suffix, {}))
    got = pixels(load_image(path)).astype(int)
    assert got.shape == (32, 32, 3)
    assert np.abs(got - big).max() <= (3 if suffix in {".jpg", ".jpeg"} else 0)
    assert list_images(tmp_path) == (path,)


@pytest.mark.parametrize(
    ("mode", "format_"),
    [
        *[(m, "PNG") for m in ("1", "L", "LA", "P", "RGB", "RGBA")],
        *[(m, "TIFF") for m in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")],
        *[(m, "BMP") for m in ("1", "L", "P", "RGB", "RGBA")],
        *[(m, "JPEG") for m in ("L", "RGB", "CMYK")],
        *[(m, "WEBP") for m in ("RGB", "RGBA")],
    ],
)
@pytest.mark.parametrize("level", [0, 255])
def test_every_mode_gives_black_and_white(tmp_path, mode, format_, level):
    source = Image.new("RGB", (8, 6), (level,) * 3).convert(mode)
    path = tmp_path / f"a.{format_.lower()}"
    source.save(path, format=format_)
    image = load_image(path)
    assert image.size == (8, 6)
    assert np.abs(pixels(image).astype(int) - level).max() <= 2


def test_transparency_is_composited_on_white(tmp_path):
    Image.new("RGBA", (2, 1), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (2, 1), (0, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("LA", (2, 1), (0, 0)).save(tmp_path / "la.png")
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9] + [0] * 765)
    palette.save(tmp_path / "p.png", transparency=b"\x00\xff")
    Image.new("RGB", (2, 1), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    for name, level in [("clear", 255), ("half", 127), ("la", 255), ("p", 255), ("key", 255)]:
        assert np.abs(pixels(load_image(tmp_path / f"{name}.png")).astype(int) - level).max() <= 1


GOLDEN_16 = {0: 0, 255: 0, 256: 1, 257: 1, 32768: 128, 65279: 254, 65280: 255, 65535: 255}


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_keeps_the_high_byte(tmp_path, channels):
    values = np.array(list(GOLDEN_16), np.uint16)[None, :, None].repeat(channels, axis=2)
    got = pixels(load_image(png16(tmp_path / "a.png", values)))
    expected = np.array(list(GOLDEN_16.values()))
    assert (got == expected[None, :, None]).all()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tiff_keeps_the_high_byte(tmp_path, byteorder, channels):
    values = np.array(list(GOLDEN_16), np.uint16)[None, :].repeat(2, axis=0)
    data = values if channels == 1 else values[..., None].repeat(3, axis=2)
    photometric = "minisblack" if channels == 1 else "rgb"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric=photometric, byteorder=byteorder)
    got = pixels(load_image(path))
    assert (got == np.array(list(GOLDEN_16.values()))[None, :, None]).all()


def test_16_bit_is_not_stretched_and_close_to_full_range_scaling(tmp_path):
    ramp = np.arange(1000, 2000, dtype=np.uint16).reshape(20, 50)
    got = pixels(load_image(png16(tmp_path / "a.png", ramp[..., None])))
    assert got.max() == 1999 >> 8
    assert np.abs(got[..., 0] - ramp * (255 / 65535)).max() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_tiff_is_inverted(tmp_path, dtype):
    top = np.iinfo(dtype).max
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.array([[0, top], [top, 0]], dtype), photometric="miniswhite")
    assert pixels(load_image(path))[..., 0].tolist() == [[255, 0], [0, 255]]


def test_16_bit_alpha_is_composited_on_white(tmp_path):
    clear = np.zeros((2, 2, 4), np.uint16)
    assert (pixels(load_image(png16(tmp_path / "rgba.png", clear))) == 255).all()
    assert (pixels(load_image(png16(tmp_path / "la.png", clear[..., :2]))) == 255).all()


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.uint32, np.int16, np.int8]
)
def test_samples_without_a_fixed_range_are_refused(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((4, 4), dtype))
    with pytest.raises(ImageError, match=r"a\.tif: .*(fixed range|not an 8- or 16-bit PNG)"):
        load_image(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_storage_does_not_matter(tmp_path, dtype, tile, compression):
    full = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (20, 30, 3), dtype)
    for name, data in (("rgb", full), ("minisblack", full[..., 0])):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, data, photometric=name, tile=tile, compression=compression)
        eight = data if dtype == np.uint8 else data >> 8
        got = pixels(load_image(path))
        assert (got == (eight if eight.ndim == 3 else eight[..., None])).all()


def test_separate_planes_are_read_or_refused_but_never_misread(tmp_path):
    full = np.random.default_rng(0).integers(0, 65536, (3, 20, 30), np.uint16)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "a.tif", (full >> 8).astype(np.uint8), **options)
    assert (pixels(load_image(tmp_path / "a.tif")) == np.moveaxis(full >> 8, 0, -1)).all()
    tifffile.imwrite(tmp_path / "b.tif", full, **options)
    with pytest.raises(ImageError, match=r"b\.tif: 16-bit colour in separate planes"):
        load_image(tmp_path / "b.tif")


def test_first_frame_of_several(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].copy().save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[frames[1].copy()]
    )
    assert pixels(load_image(tmp_path / "a.jpg"))[0, 0, 0] > 250
    for name in ("a.webp", "a.tif", "a.png"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert pixels(load_image(tmp_path / name))[0, 0].tolist() == [255, 0, 0]


# Stored corner pixels (A top left, B top right, C bottom left, D bottom right) for each EXIF
# orientation of an upright A B / C D, from the EXIF 2.32 table.
STORED = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "ACBD", 6: "BDAC", 7: "DBCA", 8: "CADB"}
LEVEL = {"A": 0, "B": 80, "C": 160, "D": 240}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_exif_orientation_golden(tmp_path, orientation, name):
    stored = np.array([LEVEL[c] for c in STORED[orientation]], np.uint8).reshape(2, 2)
    block = Image.fromarray(np.kron(stored, np.ones((16, 16), np.uint8))).convert("RGB")
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if name.endswith("webp") else {}
    block.save(tmp_path / name, exif=exif, **options)
    got = pixels(load_image(tmp_path / name)).astype(int)[8::16, 8::16, 0]
    assert np.abs(got - [[0, 80], [160, 240]]).max() <= 2


def test_exif_orientation_of_a_16_bit_png_and_of_a_non_square(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # stored on its side: turn clockwise
    image = Image.fromarray(np.array([[0, 65535, 0]], np.uint16))
    image.save(tmp_path / "a.png", exif=exif)
    assert load_image(tmp_path / "a.png").size == (1, 3)
    assert load_mask(tmp_path / "a.png").tolist() == [[False], [True], [False]]


# --- files ------------------------------------------------------------------------------------


def test_content_hash(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"abc" * 100_000)
    assert content_hash(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(ImageError, match="no such file"):
        content_hash(tmp_path / "b.png")


def test_list_images(tmp_path):
    for name in (
        "b.png",
        "a.JPG",
        ".hidden.png",
        "notes.txt",
        "Thumbs.db",
        "sub/c.tiff",
        ".x/d.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.JPG", "b.png"]
    assert [p.name for p in list_images(tmp_path, recursive=True)] == ["a.JPG", "b.png", "c.tiff"]
    with pytest.raises(DataError, match="no such folder"):
        list_images(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file"):
        list_images(tmp_path / "b.png")


def test_public_names_exist():
    assert all(hasattr(images, name) for name in images.__all__)
