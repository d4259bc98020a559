"""`data planted`: a page on which a person sees what is planted into good parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.planted.cells import CONTRASTS, SIZES
from fedpatchcore.planted.planting import KINDS
from tests.support.pages import Page

CELLS = len(KINDS) * len(SIZES) * len(CONTRASTS)


def folder(root: Path, *names: str, plain: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        good = root / name / "train" / "good"
        good.mkdir(parents=True)
        for at in range(2):
            pixels = np.full((90, 120, 3), 90) if plain else rng.integers(0, 256, (90, 120, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(good / f"{at}.png")
    return root


def test_every_kind_is_shown_in_every_size_and_contrast(cli, tmp_path: Path) -> None:
    images, page = folder(tmp_path / "images", "<b>tile"), tmp_path / "page.html"
    code, out, _ = cli("data", "planted", images, "-o", page)
    assert code == 0 and f"page with pictures: {page}" in out
    read = Page(page.read_text())
    pictures = [a["src"] for a in read.named("img")]
    assert len(pictures) == 2 * CELLS + len(KINDS)
    assert all(one.startswith("data:image/jpeg;base64,") for one in pictures)
    assert all(f" {kind} " in read.words for kind in KINDS) and "<b>tile" in read.words
    assert read.named("b") == [] and "they are not real defects" in read.words
    first = page.read_bytes()
    assert cli("data", "planted", images, "-o", page)[0] == 0 and page.read_bytes() == first
    assert cli("data", "planted", images, "-o", page, "-c", "seed=1")[0] == 0
    assert page.read_bytes() != first


def test_what_cannot_be_planted_is_told_and_the_rest_is_shown(cli, tmp_path: Path) -> None:
    images, page = folder(tmp_path / "images", "plain", plain=True), tmp_path / "page.html"
    code, out, _ = cli("data", "planted", images, "-o", page)
    assert code == 0 and "plain, pasted: no 'pasted' can be planted" in out
    words = Page(page.read_text()).words
    assert "Left out" in words and "scar size 2 %" in words and "pasted size" not in words


def test_unreadable_images_are_left_out_and_none_at_all_is_an_error(cli, tmp_path: Path) -> None:
    images, page = folder(tmp_path / "images", "nut"), tmp_path / "page.html"
    good = images / "nut" / "train" / "good"
    (good / "0.png").write_bytes(b"no image")
    assert cli("data", "planted", images, "-o", page)[0] == 0
    (good / "1.png").write_bytes(b"none either")
    code, out, err = cli("data", "planted", images, "-o", page)
    assert code == 2 and "has no training image to plant a defect into" in out + err
    assert cli("data", "planted", tmp_path / "none", "-o", page)[0] == 2
    (good / "1.png").unlink()
    folder(tmp_path / "more", "nut")
    code, out, err = cli("data", "planted", tmp_path / "more", "-o", tmp_path)
    assert code == 2 and "cannot write" in out + err
