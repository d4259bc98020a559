"""What ``fit`` says of a threshold, and of the images that decide it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.opened import count_opens
from tests.support.products import write_product


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "images" / "plate", train=24)


def test_fit_says_what_the_threshold_is_worth(cli, product, quick, tmp_path: Path) -> None:
    bank = tmp_path / "b.safetensors"
    code, out, err = cli("fit", product, "-o", bank, *quick)
    assert code == 0
    assert "rests on 24 images, 5 folds: 5.0% of good parts stopped, between 0% and 14%" in out
    assert "least explained by the rest: " in out and "cannot promise" not in err
    code, out, _ = cli("bank", "inspect", bank)
    assert "plate, this-machine: threshold rests on 24 images, 5 folds" in out


def test_a_target_that_cannot_be_promised_is_said(cli, product, quick, tmp_path: Path) -> None:
    told = ["-o", tmp_path / "b.safetensors", *quick, "-c", "target-fpr=0.01"]
    code, _, err = cli("fit", product, *told)
    assert code == 0
    assert "cannot promise fewer than 4.0% false alarms: target-fpr asks for 1.0%" in err


def test_one_odd_image_is_named_drawn_and_can_be_left_out(
    cli, product, quick, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(product / "train" / "good" / "zz.png")
    bank, drawn = tmp_path / "b.safetensors", tmp_path / "odd"
    code, out, err = cli("fit", product, "-o", bank, *quick, "--pictures", drawn)
    assert code == 0 and "least explained by the rest: zz.png" in out
    assert "(!)" in out and "(!) further from the rest than chance makes likely" in out
    assert "rests on one image, zz.png" in err and "list it in a table of excluded" in err
    with (drawn / "plate.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first["image"].endswith("zz.png")
    with Image.open(drawn / first["picture"]) as shown:
        assert shown.width > 300
    high = MemoryBank.load(bank).threshold("plate")
    listing = tmp_path / "out.csv"
    listing.write_text("file,reason\ntrain/good/zz.png,bright square\n")
    code, out, err = cli("fit", product, "-o", bank, *quick, "--exclude", listing)
    assert code == 0 and "24 images, 1 excluded" in out and "rests on one image" not in err
    found = MemoryBank.load(bank)
    assert found.excluded == {"plate": {"this-machine": 1}} and found.threshold("plate") < high
    assert "plate, this-machine: 1 image excluded from training" in cli("bank", "inspect", bank)[1]
    again = cli("fit", product, "-o", bank, *quick, "-c", f"exclude={listing}")[1]
    assert _without_seconds(again) == _without_seconds(out)


def _without_seconds(out: str) -> list[str]:
    return [line for line in out.splitlines() if not line.startswith("about ")]


def test_what_it_costs_and_how_much_a_crop_shows_is_said_beforehand(
    cli, tmp_path: Path, weights_file: Path
) -> None:
    for at in range(9):
        stripe = np.random.default_rng(at).integers(0, 256, (60, 150, 3)).astype(np.uint8)
        (tmp_path / "part").mkdir(exist_ok=True)
        Image.fromarray(stripe).save(tmp_path / "part" / f"{at}.png")
    network = ("-c", "backbone=squeezenet1_1", "-c", f"weights={weights_file}")
    small = (*network, "-c", "image-size=64", "-c", "coreset-size=20")
    told = {}
    for geometry in ("crop", "whole", "tiles"):
        own = (*small, "-c", f"geometry={geometry}", "-c", "tile-overlap=32")
        told[geometry] = cli("fit", tmp_path / "part", "-o", tmp_path / "b.safetensors", *own)
    assert all(code == 0 for code, _, _ in told.values()), told
    assert "geometry='crop' shows 31% of the pictures' area" in told["crop"][1]
    for _, out, _ in told.values():
        assert re.search(r"about [0-9.e-]+ s an image, 9 images: .* s; features \d+ MB", out)
    assert "shows" not in told["whole"][1] + told["tiles"][1]


def test_groups_of_a_table_share_folds(cli, product, quick, tmp_path: Path) -> None:
    listing = tmp_path / "groups.csv"
    lines = [f"train/good/{at:03d}.png,part-{at // 6}" for at in range(24)]
    listing.write_text("\n".join(("file,group", *lines)) + "\n")
    bank = tmp_path / "b.safetensors"
    code, out, _ = cli("fit", product, "-o", bank, *quick, "--groups", listing)
    assert code == 0 and "24 images in 4 groups, one by one" in out and "of a new group's" in out
    told = MemoryBank.load(bank).calibration["plate"]["this-machine"]
    assert (told["groups"], told["folds"]) == (4, 4) and 0 <= told["new_group"] <= 1


def test_fit_opens_each_image_once(cli, product, quick, tmp_path: Path, monkeypatch) -> None:
    """For faults, groups, contents and features together."""
    opened = count_opens(monkeypatch)
    code, out, _ = cli("fit", product, "-o", tmp_path / "b.safetensors", *quick)
    assert code == 0 and "24 images" in out
    files = [path for folder in ("train", "test") for path in (product / folder).rglob("*.png")]
    assert files and dict(opened) == dict.fromkeys(files, 1)


def test_pictures_of_one_grey_set_no_threshold_and_that_is_said(
    cli, product, quick, tmp_path: Path
) -> None:
    for path in (product / "train" / "good").iterdir():
        Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    code, out, err = cli("fit", product, "-o", tmp_path / "b.safetensors", *quick)
    assert code == 0 and "nan" not in out
    assert "no threshold" in out and "images of one grey and nothing else" in err
    assert "no threshold: it takes two images, or groups of them" in err
