"""A stated range of values: read alike from every file, told apart by the fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fedpatchcore.config import RunConfig
from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.check.running import check_products
from fedpatchcore.data.images import load_image, to_pil
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.reduced import load_reduced
from fedpatchcore.data.value_range import ValueRange, canonical, parse_range
from fedpatchcore.detection.detector import PatchCore, config_of
from fedpatchcore.errors import ConfigError, DataError, FingerprintError, ImageError
from fedpatchcore.features.fingerprint import Fingerprint
from tests.data.test_reduced import DIGEST, PLAIN
from tests.support.imagefiles import pixels, png16
from tests.support.parts import part

TEN = ValueRange(0, 1023)
VALUES = np.arange(1024, dtype=np.uint16).reshape(32, 32)
LEVELS = np.rint(VALUES / 1023 * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10bit", "0..1023"),
        ("12 bits", "0..4095"),
        ("16bit", "0..65535"),
        ("0..1023", "0..1023"),
        ("0.0..1.0", "0..1"),
        ("-100..1e3", "-100..1000"),
        ("0..0.25", "0..0.25"),
        ("", ""),
    ],
)
def test_ranges(text: str, expected: str) -> None:
    assert canonical(text) == expected == canonical(canonical(text))


@pytest.mark.parametrize(
    "text",
    ["10", "7bit", "17bit", "1..1", "5..1", "0..inf", "nan..1", "0..", "..", "a..b", "0-1023"],
)
def test_what_is_no_range_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="value-range") as caught:
        RunConfig.parse({"value-range": text}, where="settings")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        parse_range(text)


def grey_files(tmp_path: Path) -> dict[str, Path]:
    files = {"png": png16(tmp_path / "a.png", VALUES[..., None])}
    for order in "<>":
        files[f"tiff{order}"] = tmp_path / f"{ord(order)}.tif"
        tifffile.imwrite(files[f"tiff{order}"], VALUES, byteorder=order)
    files["white is zero"] = tmp_path / "w.tif"
    tifffile.imwrite(files["white is zero"], 1023 - VALUES, photometric="miniswhite")
    files["32 bits"] = tmp_path / "i.tif"
    tifffile.imwrite(files["32 bits"], VALUES.astype(np.uint32))
    files["signed"] = tmp_path / "s.tif"
    tifffile.imwrite(files["signed"], VALUES.astype(np.int16))
    files["float"] = tmp_path / "f.tif"
    tifffile.imwrite(files["float"], VALUES.astype(np.float32))
    return files


def test_grey_files_of_every_kind_are_read_alike(tmp_path: Path) -> None:
    for kind, path in grey_files(tmp_path).items():
        read = pixels(load_image(path, TEN))
        assert (read == LEVELS[..., None]).all(), kind
        reduced, _ = load_reduced(path, lambda *_: (1, 1), TEN)
        assert (pixels(reduced) == read).all(), kind


def test_colour_of_16_bits_keeps_its_low_bytes(tmp_path: Path) -> None:
    colour = np.stack([VALUES, VALUES[::-1], VALUES.T], axis=-1)
    expected = np.rint(colour / 1023 * 255).astype(np.uint8)
    files = [png16(tmp_path / "a.png", colour)]
    for at, (order, packed) in enumerate([("<", None), (">", None), ("<", "zlib"), (">", "zlib")]):
        files.append(tmp_path / f"{at}.tif")
        tifffile.imwrite(files[-1], colour, photometric="rgb", byteorder=order, compression=packed)
    for path in files:
        assert (pixels(load_image(path, TEN)) == expected).all(), path
    with pytest.raises(ImageError, match="with transparency takes no value-range"):
        load_image(png16(tmp_path / "t.png", np.concatenate([colour, colour[..., :1]], -1)), TEN)


def test_without_a_range_and_at_8_bits_all_is_as_it_was(tmp_path: Path) -> None:
    path = png16(tmp_path / "a.png", VALUES[..., None])
    assert (pixels(load_image(path)) == (VALUES >> 8)[..., None]).all()
    image = part(1, size=32)
    for suffix in ("png", "jpg", "bmp", "webp", "tif"):
        image.save(tmp_path / f"b.{suffix}")
        read = load_image(tmp_path / f"b.{suffix}", TEN)
        assert (pixels(read) == pixels(load_image(tmp_path / f"b.{suffix}"))).all()


def test_a_turned_picture_is_turned(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, extratags=[(274, "H", 1, 6, True)])
    assert (pixels(load_image(tmp_path / "a.tif", TEN)) == np.rot90(LEVELS, -1)[..., None]).all()


def test_pictures_in_memory(tmp_path: Path) -> None:
    assert (pixels(to_pil(VALUES, TEN)) == LEVELS[..., None]).all()
    assert (pixels(to_pil(Image.fromarray(VALUES), TEN)) == LEVELS[..., None]).all()
    shares = (VALUES / 1023).astype(np.float32)
    assert (pixels(to_pil(shares, TEN)) == pixels(to_pil(shares))).all()


def test_values_beyond_the_range(tmp_path: Path) -> None:
    few, many = VALUES.copy(), VALUES.copy()
    few[0, 0] = 4000
    many[:2] = 4000
    read = pixels(load_image(png16(tmp_path / "few.png", few[..., None]), TEN))
    assert read[0, 0, 0] == 255 and (read.reshape(-1, 3)[1:] == LEVELS.reshape(-1, 1)[1:]).all()
    with pytest.raises(ImageError, match=r"many.png: 6.2% .* value-range='0..1023'.* 64 to 4000"):
        load_image(png16(tmp_path / "many.png", many[..., None]), TEN)


def test_floats_need_a_range_and_numbers(tmp_path: Path) -> None:
    shares = (VALUES / 1023).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", shares)
    assert (pixels(load_image(tmp_path / "f.tif", ValueRange(0, 1))) == LEVELS[..., None]).all()
    with pytest.raises(ImageError, match="state it as value-range"):
        load_image(tmp_path / "f.tif")
    shares[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "f.tif", shares)
    with pytest.raises(ImageError, match="holds NaN"):
        load_image(tmp_path / "f.tif", ValueRange(0, 1))


def test_a_fingerprint_without_a_range_is_what_it_was() -> None:
    plain, ranged = Fingerprint(**PLAIN), Fingerprint(**PLAIN, value_range="0..1023")
    assert plain.digest == DIGEST and "value_range" not in json.loads(plain.to_json())
    assert Fingerprint.from_json(ranged.to_json()) == ranged
    assert Fingerprint.from_json(plain.to_json()) == plain
    with pytest.raises(FingerprintError, match=r"value_range: 0\.\.1023 ≠ none"):
        ranged.require(plain, ours="the bank", theirs="site 'a'")


def ten_bits(folder: Path) -> Path:
    """Parts of a 10-bit camera in 16-bit files, one defective."""
    for seed in range(12):
        kind = "train/good" if seed < 10 else "test/good" if seed == 10 else "test/dent"
        image = part(seed, size=96)
        if kind == "test/dent":
            image.paste((0, 0, 0), (36, 12, 58, 26))
        values = np.asarray(image.convert("L")).astype(np.uint16) << 2
        path = folder / kind / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        png16(path, values[..., None])
    return folder


def test_a_bank_reads_as_it_was_taught(tmp_path: Path, settings) -> None:
    product = discover(ten_bits(tmp_path / "disc"))["disc"]
    fit = {"holdout": 0.0, "coreset_size": 60, "geometry": "full"}
    scores = {}
    for given in ("", "10bit"):
        detector = PatchCore(settings(value_range=given, **fit)).fit({"disc": product.train})
        detector.save(tmp_path / "bank.safetensors")
        again = PatchCore.load(tmp_path / "bank.safetensors", weights=detector.config.weights)
        assert again.config.value_range == canonical(given) == config_of(again.bank).value_range
        good, bad = (again.predict(item.path).score for item in product.test)
        assert (good, bad) == tuple(detector.predict(item.path).score for item in product.test)
        scores[given] = bad / good
    assert scores["10bit"] > 1.2 > scores[""]
    with pytest.raises(FingerprintError, match="value_range"):
        PatchCore(settings(**fit)).use(again.bank)


def test_the_check_is_content_with_a_stated_range(tmp_path: Path) -> None:
    products = discover(ten_bits(tmp_path / "disc"))
    assert "value-range" in {one.check for one in check_products(products)}
    assert "value-range" not in {one.check for one in check_products(products, Looks(TEN))}
    found = check_products(products, Looks(ValueRange(0, 255)))
    assert {one.check for one in found if one.kind == "fault"} >= {"unreadable", "few"}


def test_a_site_whose_range_is_wrong_is_told_so(tmp_path: Path, settings) -> None:
    ten_bits(tmp_path / "disc")
    with pytest.raises(DataError, match=r"lie outside value-range='0\.\.255'"):
        PatchCore(settings(value_range="8bit")).fit({"disc": tmp_path / "disc/train/good"})
