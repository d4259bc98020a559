"""Each tree is built on disk and discovered, the bad ones too."""

import json
import os
from pathlib import Path

import pytest

from fedpatchcore.data import products, saturation, tables
from fedpatchcore.data.layouts import discovery, visa
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.data.saturation import Saturation, load_regions, read_defects_config
from fedpatchcore.errors import ConfigError, DataError
from tests.support.imagefiles import write_grey
from tests.support.places import BENCHMARKS
from tests.support.products import write_product


def mvtec(root, product="bolt"):
    base = root / product
    for name in (
        "train/good/b.png",
        "train/good/a.png",
        "test/good/0.png",
        "test/dent/1.png",
        "test/dent/2.png",
        "test/bent/3.png",
    ):
        write_grey(base / name)
    write_grey(base / "ground_truth/dent/1_mask.png", 255)
    write_grey(base / "ground_truth/dent/2.bmp", 255)
    return base


RULES = [
    {
        "defect_name": "dent",
        "pixel_value": 255,
        "saturation_threshold": 0.5,
        "relative_saturation": True,
    },
    {
        "defect_name": "bent",
        "pixel_value": 254,
        "saturation_threshold": 3,
        "relative_saturation": False,
    },
]


def autovi_tree(root):
    base = root / "gear"
    write_grey(base / "train/good/0.png")
    write_grey(base / "test/good/0.png")
    write_grey(base / "test/dent/7.png")
    write_grey(base / "ground_truth/dent/7/0000.png", 255)
    write_grey(base / "ground_truth/dent/7/0001.png", 254)
    (base / "defects_config.json").write_text(json.dumps(RULES))
    return base


def visa_tree(root, extra=(), header="object,split,label,image,mask"):
    for name in ("a/n0.JPG", "a/n1.JPG", "a/x.JPG", "b/n0.JPG"):
        path = write_grey((root / name).with_suffix(".jpg"))
        path.rename(path.with_suffix(".JPG"))
    write_grey(root / "a/x.png", 1)
    lines = [
        header,
        "a,train,normal,a/n0.JPG,",
        "a,test,normal,a/n1.JPG,",
        "a,test,anomaly,a/x.JPG,a/x.png",
        "b,train,normal,b/n0.JPG,",
        *extra,
    ]
    (root / "split_csv").mkdir(parents=True)
    (root / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n")


# --- trees ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["auto", "mvtec"])
def test_mvtec(tmp_path, layout):
    base = mvtec(tmp_path)
    mvtec(tmp_path, "anchor")
    (tmp_path / "README.txt").touch()
    (tmp_path / ".cache").mkdir()
    found = discover(tmp_path, layout)
    assert list(found) == ["anchor", "bolt"]
    bolt = found["bolt"]
    assert bolt.root == base
    assert [path.name for path in bolt.train] == ["a.png", "b.png"]
    assert [(item.path.name, item.label, item.anomalous) for item in bolt.test] == [
        ("0.png", "good", False),
        ("3.png", "bent", True),
        ("1.png", "dent", True),
        ("2.png", "dent", True),
    ]
    masks = [[path.name for path in item.masks] for item in bolt.test]
    assert masks == [[], [], ["1_mask.png"], ["2.bmp"]]
    assert bolt.saturation == {}
    assert list(discover(tmp_path, layout, products=["bolt"])) == ["bolt"]


def test_the_root_may_be_one_product(tmp_path, monkeypatch):
    base = mvtec(tmp_path)
    assert list(discover(base)) == ["bolt"]
    assert list(discover(str(base))) == ["bolt"]
    monkeypatch.chdir(base)
    assert list(discover(".")) == ["bolt"]
    monkeypatch.chdir(base / "train")
    assert list(discover("..")) == ["bolt"]


def test_mask_name_with_suffix_wins(tmp_path):
    base = mvtec(tmp_path)
    write_grey(base / "ground_truth/dent/1.png", 255)
    by_name = {item.path.name: item for item in discover(base)["bolt"].test}
    assert [path.name for path in by_name["1.png"].masks] == ["1_mask.png"]


def test_a_product_without_training_images_is_kept_for_its_test_images(tmp_path):
    write_grey(tmp_path / "bolt/test/good/0.png")
    (tmp_path / "nut/train/good").mkdir(parents=True)
    found = discover(tmp_path)
    assert list(found) == ["bolt"]
    assert found["bolt"].train == ()
    assert len(found["bolt"].test) == 1


@pytest.mark.parametrize("layout", ["auto", "autovi"])
def test_autovi(tmp_path, layout):
    autovi_tree(tmp_path)
    gear = discover(tmp_path, layout)["gear"]
    good, dent = gear.test
    assert good.masks == ()
    assert [path.name for path in dent.masks] == ["0000.png", "0001.png"]
    assert gear.saturation == {
        "dent": Saturation("dent", 255, 0.5, True),
        "bent": Saturation("bent", 254, 3.0, False),
    }
    areas = [region.saturation_area for region in load_regions(dent.masks, gear.saturation)]
    assert areas == [8.0, 3.0]  # half of 16 pixels; 3 pixels whatever the size
    half = load_regions(dent.masks, gear.saturation, size=(2, 2))
    assert [(int(r.mask.sum()), r.saturation_area) for r in half] == [(4, 2.0), (4, 0.75)]


@pytest.mark.parametrize("layout", ["auto", "visa"])
@pytest.mark.parametrize("deep", [True, False])
def test_visa(tmp_path, layout, deep):
    visa_tree(tmp_path)
    if not deep:
        (tmp_path / "split_csv/1cls.csv").rename(tmp_path / "1cls.csv")
    found = discover(tmp_path, layout)
    assert {name: len(item.train) for name, item in found.items()} == {"a": 1, "b": 1}
    normal, anomaly = found["a"].test
    assert normal == TestImage(tmp_path / "a/n1.JPG", "good", ())
    assert anomaly == TestImage(tmp_path / "a/x.JPG", "anomaly", (tmp_path / "a/x.png",))


@pytest.mark.parametrize("layout", ["auto", "plain"])
def test_plain(tmp_path, layout):
    write_grey(tmp_path / "nut/a.png")
    write_grey(tmp_path / "bolt/b.png")
    (tmp_path / "docs").mkdir()
    found = discover(tmp_path, layout)
    assert [(name, len(item.train), item.test) for name, item in found.items()] == [
        ("bolt", 1, ()),
        ("nut", 1, ()),
    ]
    one = discover(tmp_path / "nut", layout)
    assert one == {"nut": Product("nut", (tmp_path / "nut/a.png",), (), tmp_path / "nut")}


# --- bad trees --------------------------------------------------------------------------------


def refused(match, *args, error=DataError, **kwargs):
    with pytest.raises(error, match=match) as caught:
        discover(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", (AUTO, *LAYOUTS))
def test_missing_empty_file_and_unreadable_roots(tmp_path, layout, monkeypatch):
    refused("absent: no such folder", tmp_path / "absent", layout)
    refused("folder is empty; expected", tmp_path, layout)
    write_grey(tmp_path / "a.png")
    refused(r"a\.png: is a file", tmp_path / "a.png", layout)

    def deny(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    refused("cannot be listed .Permission denied", tmp_path, layout)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_no_permission(tmp_path):
    base = mvtec(tmp_path)
    (base / "train/good").chmod(0)
    try:
        refused("train/good: cannot be listed", tmp_path)
    finally:
        (base / "train/good").chmod(0o755)


def test_nothing_fits(tmp_path):
    (tmp_path / "notes.txt").touch()
    for layout in (AUTO, *LAYOUTS):
        refused(f"{tmp_path.name}: ", tmp_path, layout)
    for words in ("train/good", "split_csv", "plain"):
        refused(words, tmp_path)


def test_asked_for(tmp_path):
    mvtec(tmp_path)
    refused("layout must be one of auto", tmp_path, "coco", error=ConfigError)
    refused("no product nut, screw; found: bolt", tmp_path, products=["nut", "bolt", "screw"])
    refused("no split_csv/1cls.csv", tmp_path, "visa")


def test_defects_are_never_learnt_as_a_plain_product(tmp_path):
    write_grey(tmp_path / "good/a.png")
    write_grey(tmp_path / "Defective/b.png")
    for layout in ("auto", "plain"):
        refused("Defective, good do not look like products.*train/good", tmp_path, layout)
    write_grey(tmp_path / "bolt/train/a.png")  # train/good forgotten
    refused("train do not look like products", tmp_path / "bolt")


def test_images_beside_folders_of_images(tmp_path):
    write_grey(tmp_path / "a.png")
    write_grey(tmp_path / "nut/b.png")
    refused(r"images beside folders of images \(nut\)", tmp_path)


def test_masks_that_match_no_image(tmp_path):
    base = mvtec(tmp_path)
    for path in (base / "ground_truth/dent").iterdir():
        path.rename(path.with_stem("gt-" + path.stem))
    refused("no mask of this folder belongs to an image.*<image stem>_mask.png", tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,train,normal,a/gone.JPG,", "line 6: no file .*gone"),
        ("a,train,anomaly,a/x.png,", "line 6: a training image is labelled 'anomaly'"),
        ("a,train,normal,a/n0.JPG,", "line 6: a/n0.JPG is named twice"),
        ("a,dev,normal,b/../a/x.png,", "line 6: .* must be a path below"),
        ("a,dev,normal,a/x.png,", "line 6: split must be train or test, got 'dev'"),
        ("a,train,normal,/etc/passwd,", "line 6: '/etc/passwd' must be a path below"),
        ("a,test,anomaly,a/x.png,a/none.png", "line 6: no file .*none"),
        (",test,anomaly,a/x.png,", "line 6: object and label must not be empty"),
        ("a,test", "line 6: too few values"),
        ("a,test,normal,,", "line 6: '' must be a path below"),
    ],
)
def test_bad_visa_rows_name_their_line(tmp_path, line, reason):
    visa_tree(tmp_path, extra=[line])
    refused(reason, tmp_path)


def test_bad_visa_tables(tmp_path):
    visa_tree(tmp_path, header="object,split,image,mask,x")
    refused("lacks column label", tmp_path)
    (tmp_path / "split_csv/1cls.csv").write_bytes(b"object,split,label,image,mask\n\xff\xfe,")
    refused("not a UTF-8 csv", tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pixel_value": 0}, "entry 0: pixel_value must be"),
        ({"pixel_value": True}, "pixel_value must be"),
        ({"pixel_value": 254}, "entry 1: pixel_value 254 occurs twice"),
        ({"defect_name": "bent"}, "entry 1: defect 'bent' occurs twice"),
        ({"defect_name": ""}, "defect_name must be"),
        ({"relative_saturation": "yes"}, "relative_saturation must be true or false"),
        ({"saturation_threshold": 1.5}, r"must be in \(0, 1\], got 1.5"),
        ({"saturation_threshold": 0}, r"must be in \(0, 1\]"),
        ({"saturation_threshold": float("nan")}, "saturation_threshold must be"),
        ({"relative_saturation": False}, "at least 1 pixel, got 0.5"),
    ],
)
def test_bad_rules(tmp_path, change, reason):
    path = tmp_path / "defects_config.json"
    path.write_text(json.dumps([RULES[0] | change, RULES[1]]))
    with pytest.raises(DataError, match=reason):
        read_defects_config(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("{}", "expected a list"),
        ("[3]", "entry 0: lacks defect_name"),
        ('[{"defect_name": "a"}]', "lacks pixel_value, saturation_threshold, relative"),
    ],
)
def test_bad_rule_files(tmp_path, text, reason):
    autovi_tree(tmp_path)
    (tmp_path / "gear/defects_config.json").write_text(text)
    refused(reason, tmp_path)


def test_a_mask_value_without_rule(tmp_path):
    path = write_grey(tmp_path / "m.png", 7)
    with pytest.raises(DataError, match=r"m\.png: value 7 has no rule .*known: none"):
        load_regions([path], {})


# --- real data --------------------------------------------------------------------------------


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason=f"no benchmark data at {BENCHMARKS}")
@pytest.mark.parametrize(
    ("name", "train", "good", "bad", "masks"),
    [
        ("magnetic_tile", 759, 193, 392, 392),
        ("impeller", 600, 262, 453, 0),
        ("cookie", 31, 14, 32, 32),
    ],
)
def test_benchmark_data(name, train, good, bad, masks):
    for product in (discover(BENCHMARKS)[name], discover(BENCHMARKS / name, "mvtec")[name]):
        anomalous = [item.anomalous for item in product.test]
        assert (len(product.train), anomalous.count(False), anomalous.count(True)) == (
            train,
            good,
            bad,
        )
        assert sum(len(item.masks) for item in product.test) == masks


def test_public_names_exist():
    for module in (discovery, products, saturation, tables, visa):
        assert all(hasattr(module, name) for name in module.__all__)


def test_folders_of_sites_are_called_so(tmp_path):
    """What ``sample`` writes, given to a command for one site: told what to name instead."""
    for site in ("north", "south"):
        write_product(tmp_path / "all" / site / "plate", train=1)
    with pytest.raises(DataError, match=r"several sites \(north, south\): name one .*simulate"):
        discover(tmp_path / "all", AUTO)
    assert list(discover(tmp_path / "all" / "north", AUTO)) == ["plate"]
