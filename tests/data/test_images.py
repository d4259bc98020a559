"""Decoding: every format and mode is written to disk and read back; damage is refused."""

import hashlib
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpatchcore.data import images
from fedpatchcore.data.images import (
    IMAGE_SUFFIXES,
    content_hash,
    list_images,
    load_image,
    load_mask,
    load_mask_values,
    resize_nearest,
    to_pil,
    union_mask,
)
from fedpatchcore.errors import DataError, ImageError

RED_BLUE = np.array([[[250, 10, 20], [250, 10, 20]], [[10, 20, 250], [10, 20, 250]]], np.uint8)
EXACT = {
    ".webp": {"lossless": True},
    ".jpg": {"quality": 100, "subsampling": 0},
    ".jpeg": {"quality": 100, "subsampling": 0},
}  # options that make Pillow's writers (nearly) lossless


def png16(path, samples):
    """Write 16-bit PNG samples [H, W, C], C = 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image)


# --- formats and modes ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
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


def test_damaged_exif_is_ignored(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage-not-a-tiff")
    assert load_image(tmp_path / "a.jpg").size == (4, 4)


# --- damage -----------------------------------------------------------------------------------


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


# --- masks ------------------------------------------------------------------------------------


def test_any_nonzero_value_is_a_defect(tmp_path):
    values = np.array([[0, 1, 2], [128, 254, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    mask = load_mask(tmp_path / "a.png")
    assert mask.dtype == np.bool_
    assert mask.tolist() == (values > 0).tolist()
    assert load_mask_values(tmp_path / "a.png").tolist() == values.tolist()


def test_masks_of_other_modes(tmp_path):
    want = np.array([[False, True], [True, False]])
    Image.fromarray(want).save(tmp_path / "bit.png")
    png16(tmp_path / "low16.png", want.astype(np.uint16)[..., None])  # 1 of 65535 counts
    tifffile.imwrite(tmp_path / "int32.tif", want.astype(np.int32))
    Image.fromarray(want.astype(np.uint8)[..., None] * np.array([0, 0, 9], np.uint8)).save(
        tmp_path / "blue.png"
    )
    alpha = np.zeros((2, 2, 4), np.uint8)
    alpha[..., 0] = 200
    alpha[..., 3] = want * 255
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    palette = Image.fromarray(want.astype(np.uint8), mode=None).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [7] * 762)
    palette.putdata(want.astype(np.uint8).ravel().tolist())
    palette.save(tmp_path / "p.png")
    for name in ("bit.png", "low16.png", "int32.tif", "blue.png", "alpha.png", "p.png"):
        assert load_mask(tmp_path / name).tolist() == want.tolist(), name
    tifffile.imwrite(tmp_path / "float.tif", want.astype(np.float32))
    with pytest.raises(ImageError, match="floating-point mask"):
        load_mask(tmp_path / "float.tif")


def test_lossy_masks_are_cut_at_half_range(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:17, 8:17] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    assert np.asarray(Image.open(tmp_path / "a.jpg"))[mask == 0].max() > 0  # ringing
    assert load_mask(tmp_path / "a.jpg").tolist() == (mask > 0).tolist()


def test_union_of_masks(tmp_path):
    for name, cell in [("a", (0, 0)), ("b", (1, 2))]:
        mask = np.zeros((2, 3), np.uint8)
        mask[cell] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    want = [[True, False, False], [False, False, True]]
    assert union_mask(paths, size=(3, 2)).tolist() == want
    assert union_mask(paths, size=(6, 4)).tolist() == np.kron(want, np.ones((2, 2))).tolist()
    assert union_mask([], size=(3, 2)).tolist() == [[False] * 3] * 2
    Image.new("L", (3, 3)).save(tmp_path / "c.png")
    with pytest.raises(ImageError, match=r"c\.png: mask is 3x3 .* 3x2"):
        union_mask([*paths, tmp_path / "c.png"], size=(3, 2))
    with pytest.raises(ImageError, match="at least 1x1"):
        union_mask(paths, size=(0, 2))


def test_nearest_takes_pixel_centres():
    row = np.arange(4)[None]
    assert resize_nearest(row, (2, 1)).tolist() == [[1, 3]]
    assert resize_nearest(row, (8, 2)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2


# --- pictures in memory -----------------------------------------------------------------------


def test_the_same_picture_in_every_form(tmp_path):
    Image.fromarray(RED_BLUE).save(tmp_path / "a.png")
    unit = RED_BLUE / 255
    chw = torch.from_numpy(RED_BLUE).permute(2, 0, 1)
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(RED_BLUE),
        Image.open(tmp_path / "a.png"),
        RED_BLUE,
        RED_BLUE.astype(np.uint16) * 257,
        unit,
        unit.astype(np.float32),
        unit[::-1][::-1],
        chw,
        chw.float() / 255,
        (chw.double() / 255).requires_grad_(),
    ]
    for form in forms:
        assert pixels(to_pil(form)).tolist() == RED_BLUE.tolist(), type(form)
    grey = RED_BLUE[..., 0]
    for form in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert (pixels(to_pil(form)) == grey[..., None]).all()
    assert pixels(to_pil(torch.ones(3, 2, 2, dtype=torch.bfloat16))).min() == 255


def test_tensors_of_three_rows_are_channels_first_and_arrays_channels_last():
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert pixels(to_pil(cube)).tolist() == cube.tolist()
    assert pixels(to_pil(torch.from_numpy(cube))).tolist() == np.moveaxis(cube, 0, -1).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 200.0])
@pytest.mark.parametrize("wrap", [np.asarray, lambda a: torch.from_numpy(a.transpose(2, 0, 1))])
def test_floats_outside_the_unit_range_are_refused(value, wrap):
    array = np.full((4, 4, 3), 0.5, np.float32)
    array[1, 2, 0] = value
    with pytest.raises(ImageError, match=r"NaN or infinite|\[0, 1\]"):
        to_pil(wrap(array))


@pytest.mark.parametrize(
    ("obj", "reason"),
    [
        (None, "NoneType"),
        ([[1, 2]], "list"),
        (b"bytes", "bytes"),
        (3.0, "float"),
        (np.zeros((2, 2, 4), np.uint8), "shape"),
        (np.zeros((3, 4, 4), np.uint8), "channels last"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one image"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "dtype int64"),
        (np.zeros((4, 4), bool), "dtype bool"),
        (np.zeros((4, 4), complex), "dtype complex"),
        (np.array([["a"]]), "dtype"),
        (torch.zeros(4, 5, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(2, 3, 4, 4), "one image"),
        (torch.zeros(4, 4, dtype=torch.int64), "dtype int64"),
        (torch.zeros(3, 0, 4), "no pixels"),
        (Image.new("F", (2, 2)), "fixed range"),
        (Image.new("I", (2, 2)), "fixed range"),
    ],
)
def test_other_objects_are_refused(obj, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        to_pil(obj)
    assert "\n" not in str(caught.value)


def test_closed_and_truncated_pil_images_are_refused(tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    with pytest.raises(ImageError):
        to_pil(Image.open(io.BytesIO(buffer.getvalue()[:-300])))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(ImageError, match=r"a\.png"):
        to_pil(image)


def test_result_shares_no_memory_with_the_input():
    source = Image.new("RGB", (2, 2), "red")
    to_pil(source).putpixel((0, 0), (0, 0, 0))
    assert source.getpixel((0, 0)) == (255, 0, 0)
    array = np.full((2, 2, 3), 7, np.uint8)
    to_pil(array).putpixel((0, 0), (0, 0, 0))
    assert (array == 7).all()


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
