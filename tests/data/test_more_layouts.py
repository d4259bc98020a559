"""MVTec AD 2, anomalib's folders and lists of images; trees that could be two things."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.data.check.running import check_products
from fedpatchcore.data.layouts.discovery import discover, overlooked
from fedpatchcore.data.layouts.list import listed_groups
from fedpatchcore.errors import DataError
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.virtual import image_groups, virtual_sites
from tests.support.imagefiles import write_grey
from tests.support.parts import part


def told(product) -> list[tuple[str, str, list[str]]]:
    return [(i.path.name, i.label, [m.name for m in i.masks]) for i in product.test]


def write(root: Path, *names: str) -> Path:
    for name in names:
        write_grey(root / name, 255)
    return root


def ad2(root: Path) -> Path:
    return write(
        root / "can",
        "train/good/000_regular.png",
        "train/good/001_overexposed.png",
        "validation/good/000_regular.png",
        "test_public/good/000_regular.png",
        "test_public/bad/000_regular.png",
        "test_public/bad/001_shift.png",
        "test_public/ground_truth/bad/000_regular_mask.png",
        "test_private/000_regular.png",
        "test_private_mixed/000_mixed.png",
    )


@pytest.mark.parametrize("layout", ["auto", "mvtec_ad2"])
def test_mvtec_ad2(tmp_path: Path, layout: str) -> None:
    base = ad2(tmp_path)
    found = discover(tmp_path, layout)
    assert found == discover(base, layout) and list(found) == ["can"]
    assert [path.name for path in found["can"].train] == ["000_regular.png", "001_overexposed.png"]
    assert told(found["can"]) == [
        ("000_regular.png", "good", []),
        ("000_regular.png", "bad", ["000_regular_mask.png"]),
        ("001_shift.png", "bad", []),
    ]
    line = overlooked(found.values())
    assert line.startswith("1 image in") and "validation/good is not used: move them" in line


def test_a_tree_that_could_be_two_things_names_both(tmp_path: Path) -> None:
    write(ad2(tmp_path), "test/dent/0.png")
    with pytest.raises(DataError, match="choose layout='mvtec_ad2' or layout='mvtec'") as caught:
        discover(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(discover(tmp_path, "mvtec")["can"].test) == 1
    assert len(discover(tmp_path, "mvtec_ad2")["can"].test) == 3
    (tmp_path / "list.csv").write_text("file,split,label\ncan/test/dent/0.png,test,dent\n")
    with pytest.raises(DataError, match="layout='list' or layout='mvtec_ad2' or layout='mvtec'"):
        discover(tmp_path)


@pytest.mark.parametrize("layout", ["auto", "anomalib"])
def test_anomalibs_folders(tmp_path: Path, layout: str) -> None:
    base = write(
        tmp_path / "nut",
        "normal/0.PNG",
        "normal/1.Jpg",
        "abnormal/2.png",
        "abnormal/dent/2.png",
        "mask/2.png",
        "mask/dent/2_mask.png",
    )
    for root in (tmp_path, base):
        found = discover(root, layout)
        assert [path.name for path in found["nut"].train] == ["0.PNG", "1.Jpg"]
        assert told(found["nut"]) == [
            ("2.png", "abnormal", ["2.png"]),
            ("2.png", "dent", ["2_mask.png"]),
        ]
    missing = [one for one in check_products(discover(tmp_path)) if one.check == "test"]
    assert "no good images in the test" in missing[0].text
    write(base, "normal_test/9.png")
    assert told(discover(tmp_path, layout)["nut"])[0] == ("9.png", "good", [])
    write(base, "train/good/0.png")
    if layout == "auto":
        with pytest.raises(DataError, match="layout='mvtec' or layout='anomalib'"):
            discover(tmp_path)


def test_masks_of_anomalibs_folders_that_match_no_image(tmp_path: Path) -> None:
    write(tmp_path / "nut", "normal/0.png", "abnormal/2.png", "mask/3.png")
    with pytest.raises(DataError, match="no mask of this folder belongs to an image"):
        discover(tmp_path)
    write(tmp_path / "nut", "mask/2.png")
    orphans = [one for one in check_products(discover(tmp_path)) if "of no image" in one.text]
    assert [path.name for path in orphans[0].paths] == ["3.png"]


def test_anomalib_without_images(tmp_path: Path) -> None:
    (tmp_path / "nut/normal").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in normal/ or abnormal/"):
        discover(tmp_path)


LIST = """file,split,label,mask,group,site,product
cam/0.png,train,good,,lot 1,north,bolt
cam/1.png,train,OK,,lot 1,north,bolt
cam/2.png,train,normal,,,south,bolt
cam/3.png,test,dent,m/a.png; m/b.png,,south,bolt
cam/4.png,test,good,,,south,nut
"""


def listed(root: Path, text: str = LIST) -> Path:
    write(root, *(f"cam/{n}.png" for n in range(6)), "m/a.png", "m/b.png")
    (root / "list.csv").write_text(text)
    return root


@pytest.mark.parametrize("layout", ["auto", "list"])
def test_a_list(tmp_path: Path, layout: str) -> None:
    found = discover(listed(tmp_path), layout)
    assert [path.name for path in found["bolt"].train] == ["0.png", "1.png", "2.png"]
    assert told(found["bolt"]) == [("3.png", "dent", ["a.png", "b.png"])]
    assert told(found["nut"]) == [("4.png", "good", [])]
    assert listed_groups(tmp_path) == {tmp_path / f"cam/{n}.png": "lot 1" for n in (0, 1)}


def test_a_list_of_one_product_is_named_after_its_folder(tmp_path: Path) -> None:
    root = listed(tmp_path / "gear", "\ufefffile, split, label\ncam/0.png, Train, Good\n")
    assert list(discover(root)) == ["gear"]
    assert listed_groups(root) == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cam/9.png,train,good", "line 3: no file .*9.png"),
        ("cam/0.png,train,good", "line 3: cam/0.png is named twice"),
        ("cam/1.png,train,dent", "line 3: a training image is labelled 'dent'"),
        ("cam/1.png,both,good", "line 3: split must be train or test"),
        ("../x.png,train,good", "line 3: '../x.png' must be a path below"),
        ("cam/1.png,train", "line 3: too few values"),
        ("cam/1.png,train,", "line 3: object and label must not be empty"),
    ],
)
def test_bad_lines_of_a_list(tmp_path: Path, line: str, reason: str) -> None:
    root = listed(tmp_path, f"file,split,label\ncam/0.png,train,good\n{line}\n")
    with pytest.raises(DataError, match=reason):
        discover(root)


def test_a_list_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks column label"):
        discover(listed(tmp_path, "file,split\ncam/0.png,train\n"))
    (tmp_path / "list.csv").unlink()
    with pytest.raises(DataError, match=r"no list\.csv; write one with columns file,split,label"):
        discover(tmp_path, "list")


def test_a_list_groups_and_deals_its_images(tmp_path: Path, settings) -> None:
    """The group column counts at a real site and at virtual ones, the site column in simulation."""
    root = listed(tmp_path / "a")
    for n in range(3):
        part(n, size=96).save(root / f"cam/{n}.png")
    lines: list[str] = []
    node = NodeConfig(site="a", data=str(root), cache=str(tmp_path / "cache"))
    open_site(settings(), node, say=lines.append).training_images("bolt")
    assert any("1 group that the table names" in line for line in lines)
    dealt = settings(data=str(root), partition="manifest", manifest=str(root / "list.csv"))
    sites = virtual_sites(dealt)
    assert [len(sites[name]["bolt"].train) for name in ("north", "south")] == [2, 1]
    lots = {root / f"cam/{n}.png": "lot 1" for n in (0, 1)}
    assert image_groups(dealt) == lots
    assert image_groups(settings(data=str(tmp_path), partition="folders")) == lots
    assert image_groups(settings()) == {}
