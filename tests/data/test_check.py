"""Each fault of a folder is found, named once, and not where it is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fedpatchcore.data.check.findings import FAULT, NOTE, WARNING, Finding
from fedpatchcore.data.check.running import check_products, gravest
from fedpatchcore.data.layouts.discovery import discover
from tests.support.imagefiles import png16
from tests.support.parts import altered, part
from tests.support.places import ROOT

SIZE = 128


def save(image: Image.Image, path: Path, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A product with nothing to mend: 20 good parts, 4 good and 3 defective ones in the test."""
    root = tmp_path / "images" / "disc"
    for seed in range(20):
        save(part(seed, size=SIZE), root / f"train/good/{seed:02d}.png")
    for seed in range(4):
        save(part(100 + seed, size=SIZE), root / f"test/good/{seed}.png")
    for seed in range(3):
        image = part(200 + seed, size=SIZE)
        image.paste((250, 250, 250), (40, 40, 60, 60))
        save(image, root / f"test/dent/{seed}.png")
        mask = Image.new("L", image.size)
        mask.paste(255, (40, 40, 60, 60))
        save(mask, root / f"ground_truth/dent/{seed}_mask.png")
    return root


def found(root: Path) -> dict[tuple[str, str], Finding]:
    """Findings by check and kind."""
    findings = check_products(discover(root))
    for one in findings:
        assert one.kind == NOTE or one.fix
        assert "\n" not in one.line and not any(p.name in one.text for p in one.paths if p.suffix)
    return {(one.check, one.kind): one for one in findings}


def only(root: Path, check: str, kind: str) -> Finding:
    """The one finding there is."""
    findings = found(root)
    assert set(findings) == {(check, kind)}
    return findings[check, kind]


def names(one: Finding) -> list[str]:
    return [path.name for path in one.paths]


def test_nothing_is_said_of_a_clean_folder(disc: Path) -> None:
    assert found(disc) == {}


def test_copies_of_a_file_and_of_a_shot(disc: Path) -> None:
    shutil.copy(disc / "train/good/03.png", disc / "train/good/again.png")
    one = only(disc, "copies", WARNING)
    assert names(one) == ["03.png", "again.png"] and one.pairs
    (disc / "train/good/again.png").unlink()
    save(altered(part(3, size=SIZE), "brighter"), disc / "train/good/again.png")
    one = only(disc, "twins", NOTE)
    assert names(one) == ["03.png", "again.png"] and "(2 of 21)" in one.text


@pytest.mark.parametrize("side", ["good", "dent"])
def test_test_images_that_are_training_images(disc: Path, side: str) -> None:
    shutil.copy(disc / "train/good/05.png", disc / f"test/{side}/9.png")
    save(altered(part(6, size=SIZE), "brighter"), disc / f"test/{side}/8.png")
    for name in "89":
        if side == "dent":
            shutil.copy(
                disc / "ground_truth/dent/0_mask.png", disc / f"ground_truth/dent/{name}.png"
            )
    findings = found(disc)
    assert set(findings) == {("leak", FAULT), ("leak", WARNING)}
    assert names(findings["leak", FAULT]) == ["9.png", "05.png"]
    assert names(findings["leak", WARNING]) == ["8.png", "06.png"]
    assert ("a defect is learnt as good" in findings["leak", FAULT].fix) == (side == "dent")


def test_unreadable_and_blank_images(disc: Path) -> None:
    (disc / "train/good/zero.png").touch()
    (disc / "test/good/words.jpg").write_text("not an image")
    save(Image.new("L", (SIZE, SIZE), 90), disc / "train/good/lid.png")
    findings = found(disc)
    assert names(findings["unreadable", FAULT]) == ["zero.png", "words.jpg"]
    assert "file is empty" in findings["unreadable", FAULT].text
    assert names(findings["blank", FAULT]) == ["lid.png"]
    assert len(findings) == 2


def test_a_folder_named_like_an_image_is_none(disc: Path) -> None:
    (disc / "train/good/x.png").mkdir()
    assert found(disc) == {}


def test_tiny_and_odd_pictures(disc: Path) -> None:
    save(part(50, size=SIZE).crop((0, 0, SIZE, SIZE // 2)), disc / "train/good/half.png")
    assert names(only(disc, "odd-size", WARNING)) == ["half.png"]
    (disc / "train/good/half.png").unlink()
    save(part(50, size=SIZE).resize((8, 8)), disc / "train/good/small.png")
    assert names(found(disc)["tiny", WARNING]) == ["small.png"]
    (disc / "train/good/small.png").unlink()
    dark = np.asarray(part(50, size=SIZE)).astype(float) / 4
    save(Image.fromarray(dark.astype(np.uint8)), disc / "train/good/dark.png")
    assert names(found(disc)["odd-light", WARNING]) == ["dark.png"]
    save(part(50, size=SIZE).filter(ImageFilter.GaussianBlur(2)), disc / "train/good/dark.png")
    assert names(only(disc, "blurred", WARNING)) == ["dark.png"]


@pytest.mark.parametrize(("bits", "told"), [(10, "1.6%"), (12, "6.2%"), (14, None), (16, None)])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_that_fill_a_part_of_16_bits(disc: Path, bits, told, channels) -> None:
    for path in (disc / "train/good").iterdir():
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        values = grey << (bits - 8) | grey >> max(0, 16 - bits)
        png16(path, np.repeat(values[..., None], channels, axis=2))
    one = found(disc).get(("value-range", FAULT))
    assert (one is None) == (told is None)
    if told:
        assert told in one.text and one.fix == f"set value-range='{bits}bit'"
        assert len(one.paths) == 20
        assert len(found(disc)) == 1  # nearly of one grey, but that is the same fault


def test_some_of_16_bits_that_are_not_filled(disc: Path) -> None:
    """A hot pixel, or a second camera, does not hide the others."""
    for at, path in enumerate(sorted((disc / "train/good").iterdir())):
        values = np.asarray(Image.open(path).convert("L")).astype(np.uint16) << 2
        if at < 3:
            values[5, 5] = 65535
        png16(path, values[..., None])
    one = found(disc)["value-range", FAULT]
    assert len(one.paths) == 17 and "3 more fill up to 16 bits" in one.text
    assert "value-range='10bit'" in one.fix
    for seed, path in enumerate(sorted((disc / "train/good").iterdir())[:-1]):
        grey = np.asarray(part(seed, size=SIZE).convert("L")).astype(np.uint16)
        png16(path, grey[..., None] << 8)
    assert found(disc)["value-range", WARNING].text.startswith("1 image of 16 bits holds values up")


def test_floats_and_pages(disc: Path) -> None:
    grey = np.asarray(part(50, size=SIZE).convert("L")).astype(np.float32) / 255
    save(Image.fromarray(grey), disc / "train/good/float.tif")
    pages = [part(51 + at, size=SIZE) for at in range(3)]
    save(pages[0], disc / "train/good/pages.tif", save_all=True, append_images=pages[1:])
    findings = found(disc)
    assert len(findings) == 2
    assert names(findings["float", FAULT]) == ["float.tif"]
    assert "value-range='0.0..1.0'" in findings["float", FAULT].fix
    assert names(findings["pages", WARNING]) == ["pages.tif"]


def test_masks(disc: Path) -> None:
    truth = disc / "ground_truth/dent"
    (truth / "0_mask.png").unlink()
    one = only(disc, "masks", WARNING)
    assert names(one) == ["0.png"] and "1 of 3 defective" in one.text
    assert one.fix.endswith(": test/dent/1.png has ground_truth/dent/1_mask.png")
    shutil.copy(truth / "1_mask.png", truth / "0_mask.png")
    shutil.copy(truth / "1_mask.png", truth / "7_mask.png")
    assert names(only(disc, "masks", WARNING)) == ["7_mask.png"]
    (truth / "7_mask.png").unlink()
    for image, told in (
        (Image.new("L", (SIZE, SIZE)), "without any mark"),
        (Image.new("L", (SIZE, SIZE), 255), "over nine tenths"),
        (Image.open(truth / "1_mask.png").resize((64, 64)), "of another size"),
    ):
        save(image, truth / "0_mask.png")
        assert told in only(disc, "masks", WARNING).text
    (truth / "0_mask.png").write_bytes(b"no image")
    assert "not readable" in only(disc, "masks", WARNING).text
    shutil.rmtree(disc / "ground_truth")
    assert "none of 3" in only(disc, "masks", NOTE).text


def test_a_turned_photograph_and_its_upright_mask_agree(disc: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    wide = part(300, size=SIZE).resize((SIZE, 96))
    save(wide, disc / "test/dent/5.jpg", exif=exif)
    mask = Image.new("L", (96, SIZE))
    mask.paste(255, (0, 0, 9, 9))
    save(mask, disc / "ground_truth/dent/5_mask.png")
    assert ("masks", WARNING) not in found(disc)
    save(mask.transpose(Image.Transpose.ROTATE_90), disc / "ground_truth/dent/5_mask.png")
    assert "of another size" in found(disc)["masks", WARNING].text


def test_folders_and_names_that_tell_of_defects(disc: Path) -> None:
    save(part(50, size=SIZE), disc / "train/nok/a.png")
    one = only(disc, "folders", WARNING)
    assert "nok" in one.text and one.paths == [disc / "train/nok"]
    shutil.rmtree(disc / "train/nok")
    save(part(50, size=SIZE), disc / "train/good/cam1_NG_07.png")
    assert names(only(disc, "names", WARNING)) == ["cam1_NG_07.png"]
    (disc / "train/good/cam1_NG_07.png").unlink()
    save(part(50, size=SIZE), disc / "train/good/lot1/a.png")
    assert "1 image in sub-folders" in only(disc, "folders", WARNING).text
    save(part(51, size=SIZE), disc / "validation/good/a.png")
    beside = [one for one in check_products(discover(disc)) if one.check == "folders"]
    assert [one.fix.split(" ")[0] for one in beside] == ["set", "move"]  # a fix for each


def test_too_few_and_missing_images(disc: Path) -> None:
    for seed in range(5, 20):
        (disc / f"train/good/{seed:02d}.png").unlink()
    assert only(disc, "few", WARNING).text.startswith("5 images")
    shutil.rmtree(disc / "train")
    assert only(disc, "few", FAULT).text.startswith("no training images")
    shutil.rmtree(disc / "test/good")
    assert "false alarms cannot be counted" in found(disc)["test", WARNING].text


def test_a_folder_of_nothing_but_damaged_files(disc: Path) -> None:
    for path in (disc / "train/good").iterdir():
        path.write_bytes(b"no image")
    findings = found(disc)
    assert "none of the training images" in findings["few", FAULT].text
    assert len(findings["unreadable", FAULT].paths) == 20


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("train/good", "test/dent", "test/good"),
        ("normal", "abnormal", "normal_test"),
        ("train/good", "test_public/bad", "test_public/good"),
    ],
)
def test_where_good_test_images_belong_is_told_by_the_tree(tmp_path, good, bad, told) -> None:
    root = tmp_path / "disc"
    for seed in range(20):
        save(part(seed, size=SIZE), root / good / f"{seed}.png")
    save(part(99, size=SIZE), root / bad / "a.png")
    one = found(root)["test", WARNING]
    assert one.fix.endswith(f"into {told}")
    save(part(98, size=SIZE), root / told / "b.png")  # and there it is found
    assert ("test", WARNING) not in found(root)


def test_files_of_kinds_that_are_not_read(disc: Path) -> None:
    part(60, size=SIZE).save(disc / "train/good/a.gif")
    part(61, size=SIZE).save(disc / "test/dent/b.ppm")
    (disc / "train/good/notes.txt").write_text("no picture")
    one = only(disc, "folders", WARNING)
    assert one.text.startswith("2 files of kinds that are not read (.gif, .ppm) in ")
    assert "save them as PNG" in one.fix


def test_what_fit_and_sites_look_for(disc: Path) -> None:
    assert gravest(discover(disc).values()) == []
    shutil.copy(disc / "train/good/05.png", disc / "test/good/9.png")
    (disc / "train/good/zero.png").touch()
    (disc / "train/nok").mkdir()
    save(part(50, size=SIZE).resize((8, 8)), disc / "train/good/small.png")
    pages = [part(51 + at, size=SIZE) for at in range(3)]
    save(pages[0], disc / "train/good/pages.tif", save_all=True, append_images=pages[1:])
    grave = [one.check for one in gravest(discover(disc).values())]
    assert grave == ["unreadable", "leak", "pages", "tiny"]


def test_the_page_lists_every_check() -> None:
    source = [*(ROOT / "fedpatchcore/data/check").glob("*.py")]
    source.append(ROOT / "fedpatchcore/detection/suspects.py")
    names = {
        name
        for file in source
        for name in re.findall(r'\b(?:Finding|_of)\(\s*"([a-z-]+)"', file.read_text())
    }
    assert len(names) > 15
    page = (ROOT / "docs/data.md").read_text()
    assert not {name for name in names if f"`{name}`" not in page}
