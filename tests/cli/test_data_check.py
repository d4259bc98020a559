"""``fedpatchcore data check``: lines, exit codes, JSON, the page; and what fit says by itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fedpatchcore.cli.app import build
from tests.support.parts import part


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "a & b" / "disc"
    for kind, seeds in (("train/good", range(20)), ("test/good", range(30, 33))):
        (root / kind).mkdir(parents=True)
        for seed in seeds:
            part(seed, size=96).save(root / kind / f"{seed}.png")
    return root.parent


def test_exit_codes_and_lines(cli, images: Path) -> None:
    code, out, _ = cli("data", "check", images)
    assert code == 0
    assert "1 product, 23 images: 0 faults, 0 warnings" in out
    shutil.copy(images / "disc/train/good/3.png", images / "disc/test/good/3.png")
    code, out, _ = cli("data", "check", images, "--quick")
    assert code == 1
    (line,) = [line for line in out.splitlines() if "fault " in line]
    assert "disc: 1 image of the good test also among the training images" in line
    assert "3.png" in line and "remove them from one side" in line
    code, _, err = cli("data", "check", images / "nowhere")
    assert code == 2 and "no such folder" in err


def test_json_is_all_that_is_printed(cli, images: Path) -> None:
    (images / "disc/train/good/zero.png").touch()
    code, out, _ = cli("data", "check", images, "--json", "--quick")
    assert code == 1
    rows = json.loads(out)
    assert out[0] == "["
    assert [(r["check"], r["kind"]) for r in rows] == [("unreadable", "fault"), ("test", "note")]
    assert rows[0]["paths"] == [str(images / "disc/train/good/zero.png")]


def test_a_defect_among_the_good_ones(cli, images: Path) -> None:
    broken = part(40, size=96)
    broken.paste((0, 0, 0), (36, 12, 58, 26))
    broken.save(images / "disc/train/good/40.png")
    code, out, _ = cli("data", "check", images, "--json")
    found = [r for r in json.loads(out) if r["check"] == "suspects"]
    assert code == 1 and found[0]["paths"][0] == str(images / "disc/train/good/40.png")
    assert "suspects" not in cli("data", "check", images, "--json", "--quick")[1]


def test_the_page_holds_the_pictures_and_fetches_nothing(cli, images: Path, tmp_path: Path) -> None:
    odd = images / "disc/train/good" / "<b>.png"
    shutil.copy(images / "disc/train/good/3.png", odd)
    (images / "disc/train/good/zero.png").touch()
    page = tmp_path / "check.html"
    assert cli("data", "check", images, "--quick", "--html", page)[0] == 1
    text = page.read_text()
    assert "<h1>a &amp; b</h1>" in text
    assert "&lt;b&gt;.png" in text and "<b>.png" not in text
    assert text.count("data:image/jpeg;base64,") == 2 and "cannot be drawn" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "1 fault and 1 warning" in text
    code, _, err = cli("data", "check", images, "--html", tmp_path / "none" / "x.html")
    assert code in (0, 1) or "cannot write" in err


def test_groups_are_told(cli, images: Path) -> None:
    code, out, _ = cli("data", "check", images, "--quick", "-c", r"group-by=^(\d)")
    assert code == 0 and "10 groups by file name pattern" in out
    code, out, _ = cli("data", "check", images, "--quick", "-c", "group-by=lot")
    assert code == 1 and "no group by file name pattern 'lot'" in out
    code, _, err = cli("data", "check", images, "-c", "group-by=(")
    assert code == 2 and "no regular expression" in err


def test_fit_warns_of_what_spoils_the_bank(cli, images: Path, tmp_path: Path) -> None:
    told = ["-c", "backbone=filterbank", "-c", "image-size=64", "-c", "coreset-size=20"]
    bank = tmp_path / "bank.safetensors"
    code, _, err = cli("fit", images, "-o", bank, *told)
    assert code == 0 and "warning" not in err
    shutil.copy(images / "disc/train/good/3.png", images / "disc/test/good/3.png")
    (images / "disc/train/good/lot").mkdir()
    shutil.copy(images / "disc/train/good/4.png", images / "disc/train/good/lot/4.png")
    code, _, err = cli("fit", images, "-o", bank, *told)
    assert code == 0
    assert "1 image of the good test also among the training images" in err
    assert "1 image in sub-folders" in err and "group-by='folder'" in err


def test_only_what_is_named_is_loaded() -> None:
    assert [group.name for group in build(["data"]).registered_groups] == ["data"]
