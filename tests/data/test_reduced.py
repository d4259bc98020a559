"""Large JPEGs decoded at the size that is needed: what changes, what must not, who is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.data.images import load_image, load_mask
from fedpatchcore.data.reduced import load_reduced
from fedpatchcore.detection.detector import PatchCore, config_of
from fedpatchcore.detection.reading import feature_batches
from fedpatchcore.errors import FingerprintError, ImageError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.features.geometry import Geometry

ODD = (1001, 803)  # neither is a multiple of 8: the last blocks are cut short


def scene(width: int, height: int) -> Image.Image:
    """Smooth waves and a bright corner, so that no turned or mirrored copy looks the same."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [120 + 60 * np.sin(9 * x + 4 * y), 90 + 50 * np.cos(7 * y), 60 + 120 * x]
    pixels = np.stack(waves, axis=2)
    pixels[: height // 5, : width // 4] += 60
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image, orientation: int = 1, **how) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path, quality=95, exif=exif, **how)
    return path


@pytest.mark.parametrize(
    ("size", "stored", "expected"),
    [
        (32, (1024, 768), (64 * 2, 96)),  # 1/8: 128 × 96 is at least 64 × 64
        (64, (1024, 768), (256, 192)),  # 1/4, since 1/8 is lower than 128
        (96, (1024, 768), (256, 192)),  # exactly 192: enough
        (97, (1024, 768), (512, 384)),
        (224, (1024, 768), (1024, 768)),  # less than twice 448: all of it
        (32, (ODD[0], ODD[1]), (126, 101)),
        (32, (4000, 64), (4000, 64)),  # the shorter side decides
        (32, (4000, 127), (4000, 127)),
        (32, (4000, 128), (2000, 64)),
    ],
)
def test_the_scale_follows_from_the_sizes_alone(tmp_path: Path, size, stored, expected) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", stored, "teal"))
    geometry = Geometry("full", size)
    assert load_reduced(path, geometry.needed)[0].size == expected


@pytest.mark.parametrize("kind", ["full", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [ODD, ODD[::-1], (1024, 768)])
def test_what_the_network_sees_is_that_of_a_full_decode(
    tmp_path: Path, kind: str, orientation: int, stored: tuple[int, int]
) -> None:
    """Within 3 of 255 everywhere: upright, and not shifted by the pixel that is only half full."""
    path = save(tmp_path / "a.jpg", scene(*stored), orientation)
    geometry = Geometry(kind, 32)
    reduced, box = load_reduced(path, geometry.needed)
    whole = load_image(path)
    assert reduced.width < whole.width / 2
    assert box[2] - box[0] == pytest.approx(whole.width * reduced.width // whole.width, abs=1)
    found = np.asarray(geometry.image(reduced, box), int)
    expected = np.asarray(geometry.image(whole), int)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() < 0.6


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_grey_cmyk_and_progressive_files(tmp_path: Path, mode: str, progressive: bool) -> None:
    image = scene(*ODD).convert(mode)
    path = save(tmp_path / "a.jpg", image, 6, progressive=progressive)
    geometry = Geometry("full", 32)
    reduced, box = load_reduced(path, geometry.needed)
    assert (reduced.mode, reduced.size) == ("RGB", (101, 126))
    found = np.asarray(geometry.image(reduced, box), int)
    expected = np.asarray(geometry.image(load_image(path)), int)
    assert np.abs(found - expected).max() <= 4


def test_several_pictures_in_one_file_give_the_first(tmp_path: Path) -> None:
    first, second = scene(*ODD), Image.new("RGB", ODD, "red")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.format == "MPO"
    geometry = Geometry("full", 32)
    reduced, box = load_reduced(tmp_path / "a.jpg", geometry.needed)
    assert reduced.size == (126, 101)
    whole = np.asarray(geometry.image(load_image(tmp_path / "a.jpg")), int)
    assert np.abs(np.asarray(geometry.image(reduced, box), int) - whole).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_other_formats_are_decoded_as_ever(tmp_path: Path, suffix: str) -> None:
    scene(640, 480).save(tmp_path / f"a{suffix}")
    geometry = Geometry("full", 32)
    reduced, box = load_reduced(tmp_path / f"a{suffix}", geometry.needed)
    whole = load_image(tmp_path / f"a{suffix}")
    assert (reduced.tobytes(), box) == (whole.tobytes(), (0, 0, 640, 480))
    assert geometry.image(reduced, box).tobytes() == geometry.image(whole).tobytes()


def test_a_turned_tiff_keeps_its_own_size(tmp_path: Path) -> None:
    scene(640, 480).save(tmp_path / "a.tif", tiffinfo={274: 6})
    reduced, box = load_reduced(tmp_path / "a.tif", Geometry("full", 32).needed)
    assert (reduced.size, box) == ((480, 640), (0, 0, 480, 640))


def test_a_small_jpeg_is_decoded_bit_for_bit(tmp_path: Path, backbone, settings) -> None:
    path = save(tmp_path / "a.jpg", scene(200, 150), 8)
    drafting = build_backbone(settings(jpeg_draft=True))
    np.testing.assert_array_equal(drafting.read(path), backbone.read(path))


def test_masks_are_never_reduced(tmp_path: Path) -> None:
    mask = Image.new("L", (4000, 3000))
    mask.paste(255, (100, 200, 101, 201))
    mask.save(tmp_path / "m.jpg", quality=100)
    assert load_mask(tmp_path / "m.jpg").shape == (3000, 4000)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", scene(*ODD))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError, match=r"a\.jpg: cannot be decoded"):
        load_reduced(path, Geometry("full", 32).needed)


# -- who is told ----------------------------------------------------------------------

PLAIN = {
    "architecture": "squeezenet1_1",
    "layers": ("a", "b"),
    "geometry": "full",
    "image_size": 224,
    "mean": (0.5, 0.25, 0.75),
    "std": (1, 1, 1),
    "neighbourhood": 3,
    "layer_norm": "unit",
    "precision": "float32",
    "dimension": 768,
    "weights_sha256": "0" * 64,
}
DIGEST = "a0c40eef062443e0c2ab9ef10f189524418222b9845506a2d5d884fe14ab279a"


def test_without_it_a_fingerprint_is_what_it_was_before_the_setting_existed() -> None:
    plain, drafted = Fingerprint(**PLAIN), Fingerprint(**PLAIN, jpeg_draft=True)
    assert plain.digest == DIGEST
    assert drafted.digest != DIGEST
    assert "jpeg_draft" not in json.loads(plain.to_json())
    assert Fingerprint.from_json(plain.to_json()) == plain
    assert Fingerprint.from_json(drafted.to_json()) == drafted
    for ours, theirs, told in ((plain, drafted, "False ≠ True"), (drafted, plain, "True ≠ False")):
        with pytest.raises(FingerprintError, match=f"jpeg_draft: {told}"):
            ours.require(theirs, ours="the bank", theirs="site 'a'")


def test_a_bank_brings_the_setting_to_whoever_opens_it(tmp_path: Path) -> None:
    for draft in (False, True):
        fingerprint = Fingerprint(**PLAIN, jpeg_draft=draft)
        rows = np.ones((2, 768), np.float32)
        bank = MemoryBank(fingerprint, {"p": Section(rows, np.full(2, -1, np.int32), 0.1)})
        bank.save(tmp_path / "bank.safetensors")
        loaded = MemoryBank.load(tmp_path / "bank.safetensors")
        assert ("jpeg_draft" in loaded.header()["fingerprint"]) == draft
        assert loaded.fingerprint == fingerprint
        assert config_of(loaded).jpeg_draft == draft


def test_a_detector_reads_a_file_as_the_extractor_does(tmp_path: Path, settings) -> None:
    paths = [save(tmp_path / f"{at}.jpg", scene(1201 + at, 903)) for at in range(6)]
    for draft in (False, True):
        detector = PatchCore(settings(jpeg_draft=draft, holdout=0.0, coreset_size=5))
        tool = Extractor(detector.backbone, batch_size=1)
        rows, _, _ = tool.all(paths)
        rows = rows.dense()
        given = np.concatenate(list(feature_batches(detector.backbone, paths, detector.config)))
        np.testing.assert_allclose(given, rows, atol=1e-5)
        detector.fit({"p": paths})
        rows_of = detector.bank.sections["p"].features
        flat = rows[0].reshape(-1, rows.shape[-1])
        apart = np.linalg.norm(flat[:, None] - rows_of[None], axis=2).min(1).max()
        judged = detector.predict(paths[0])
        assert judged.score == pytest.approx(apart, abs=1e-5)
        assert judged.anomaly_map.shape == (903, 1201)
