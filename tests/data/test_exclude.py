"""Images that a person takes out: named, with a reason, and never by accident all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.data.exclude import excluded, without
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.errors import DataError
from tests.support.products import write_product


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_product(tmp_path / "images" / "plate", train=4)
    return tmp_path / "images"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "out.csv"
    path.write_text("\n".join(("file,reason", *lines)) + "\n")
    return path


def test_named_images_do_not_teach(data: Path, tmp_path: Path) -> None:
    listing = table(tmp_path, "plate/train/good/002.png,scratched", "plate/train/good/000.png,old")
    products, counts = without(discover(data), excluded(listing, data), listing)
    assert [path.name for path in products["plate"].train] == ["001.png", "003.png"]
    assert counts == {"plate": 2} and len(products["plate"].test) == 6


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["plate/train/good/000.png,"], "no reason"),
        (["plate/train/good/009.png,gone"], "no file"),
        (["../secret.png,x"], "must be a path below"),
        (["plate/train/good/000.png,a", "plate/train/good/000.png,b"], "before already"),
        (["plate/test/good/000.png,not mine"], "no training image"),
        ([f"plate/train/good/00{n}.png,x" for n in range(4)], "leaves no training image"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(data: Path, lines: list[str], fault: str) -> None:
    listing = table(data, *lines)
    with pytest.raises(DataError, match=fault) as error:
        without(discover(data), excluded(listing, data), listing)
    assert "\n" not in str(error.value) and str(listing) in str(error.value)
