"""Partitions lose nothing, repeat nothing and can be reproduced."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedpatchcore.data import manifest as manifest_module
from fedpatchcore.data import partition as partition_module
from fedpatchcore.data.counts import statistics, write_statistics
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.manifest import read_groups
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.errors import ConfigError, DataError
from tests.support.imagefiles import write_grey
from tests.support.places import BENCHMARKS


def product(name, train, good=0, bad=0):
    root = Path("/data") / name
    return Product(
        name,
        tuple(root / f"train/good/{i:03}.png" for i in range(train)),
        tuple(TestImage(root / f"test/good/{i:03}.png", "good") for i in range(good))
        + tuple(TestImage(root / f"test/{'ab'[i % 2]}/{i}.png", "ab"[i % 2]) for i in range(bad)),
        root,
        {"a": name},
    )


def dataset(*counts):
    return {f"p{i}": product(f"p{i}", *count) for i, count in enumerate(counts)}


def files(own):
    """All images of a mapping of products, as a multiset."""
    found = Counter()
    for name, item in own.items():
        assert item.name == name
        assert item.train or item.test
        found.update(item.train)
        found.update(image.path for image in item.test)
    return found


def trains(parts):
    return [sum(len(item.train) for item in own.values()) for own in parts.values()]


counts = st.tuples(st.integers(1, 30), st.integers(0, 9), st.integers(0, 9))
data_sets = st.lists(counts, min_size=1, max_size=5).map(lambda rows: dataset(*rows))


# --- properties -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["iid", "category", "dirichlet"])
@given(data=data_sets, sites=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_every_image_goes_to_exactly_one_site(scheme, data, sites, seed):
    try:
        parts = partition(data, scheme, sites=sites, seed=seed, alpha=2.0)
    except DataError:
        smallest = min(len(item.train) for item in data.values())
        assert scheme == "dirichlet" or smallest < sites  # only scarcity may be refused
        assume(False)
    assert list(parts) == [f"site-{i}" for i in range(sites)]
    assert sum((files(own) for own in parts.values()), Counter()) == files(data)
    assert min(trains(parts)) >= 1
    for own in parts.values():
        assert list(own) == sorted(own)
        for name, item in own.items():
            assert list(item.train) == sorted(item.train)
            assert set(item.test) <= set(data[name].test)
            assert item.saturation == data[name].saturation
    again = partition(dict(reversed(data.items())), scheme, sites=sites, seed=seed, alpha=2.0)
    assert again == parts


@given(data=data_sets, sites=st.integers(1, 6), seed=st.integers(0, 99))
def test_iid_is_even(data, sites, seed):
    assume(sum(len(item.train) for item in data.values()) >= sites)
    parts = partition(data, "iid", sites=sites, seed=seed)
    assert max(trains(parts)) - min(trains(parts)) <= 1
    for name, whole in data.items():
        for select in (
            lambda item: len(item.train),
            lambda item: sum(not image.anomalous for image in item.test),
            lambda item: sum(image.label == "a" for image in item.test),
        ):
            shares = [select(own[name]) if name in own else 0 for own in parts.values()]
            assert sum(shares) == select(whole)
            assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("scheme", ["iid", "dirichlet"])
def test_another_seed_deals_otherwise(scheme):
    data = dataset((40, 10, 10), (40, 10, 10))
    parts = [partition(data, scheme, sites=4, seed=seed) for seed in range(5)]
    assert all(parts[a] != parts[b] for a in range(5) for b in range(a))


def test_the_deal_of_a_seed_never_changes():
    data = {"bolt": product("bolt", 6, 2)}
    parts = partition(data, "iid", sites=2, seed=7)
    assert [[p.stem for p in own["bolt"].train] for own in parts.values()] == GOLDEN_IID


GOLDEN_IID = [["000", "004", "005"], ["001", "002", "003"]]


# --- category ---------------------------------------------------------------------------------


def test_more_products_than_sites_are_balanced():
    data = dataset((50,), (10,), (20,), (30,), (40,))
    parts = partition(data, "category", sites=2)
    assert {site: list(own) for site, own in parts.items()} == {
        "site-0": ["p0", "p1", "p2"],
        "site-1": ["p3", "p4"],
    }
    assert trains(parts) == [80, 70]
    assert partition(data, "category", sites=2, seed=5) == parts


def test_as_many_products_as_sites():
    parts = partition(dataset((3, 1, 1), (9, 1, 1), (6, 0, 0)), "category", sites=3)
    assert sorted(list(own) for own in parts.values()) == [["p0"], ["p1"], ["p2"]]


def test_more_sites_than_products_share_the_larger_products():
    parts = partition(dataset((10, 4, 4), (40, 4, 4)), "category", sites=5)
    assert [list(own) for own in parts.values()] == [["p0"], ["p1"], ["p1"], ["p1"], ["p1"]]
    assert trains(parts) == [10, 10, 10, 10, 10]
    assert [len(own["p1"].test) for own in list(parts.values())[1:]] == [2, 2, 2, 2]


def test_products_are_shared_in_proportion_to_their_size():
    parts = partition(dataset((10,), (20,), (40,)), "category", sites=7)
    assert [list(own) for own in parts.values()] == [["p0"]] + [["p1"]] * 2 + [["p2"]] * 4
    assert trains(parts) == [10] * 7


# --- dirichlet --------------------------------------------------------------------------------


def test_alpha_sets_how_much_sites_differ():
    data = dataset((1000, 200, 200))
    spread = {}
    for alpha in (0.3, 1000.0):
        parts = partition(data, "dirichlet", sites=4, alpha=alpha, seed=1)
        spread[alpha] = max(trains(parts)) - min(trains(parts))
        for own in parts.values():  # test images follow the training images
            item = own["p0"]
            good = sum(not image.anomalous for image in item.test)
            assert abs(good / 200 - len(item.train) / 1000) < 0.01
            assert abs((len(item.test) - good) / 200 - len(item.train) / 1000) < 0.02
    assert spread[1000.0] < 60
    assert spread[0.3] > 200


def test_sites_may_lack_a_product_but_not_all():
    parts = partition(dataset((20,), (20,), (20,)), "dirichlet", sites=5, alpha=0.1, seed=3)
    assert any(len(own) < 3 for own in parts.values())
    assert min(trains(parts)) >= 1


def test_hopeless_draws_end():
    with pytest.raises(DataError, match=r"100 draws.*raise dirichlet-alpha \(0.001\) or use"):
        partition(dataset((20,)), "dirichlet", sites=20, alpha=0.001)


# --- manifest and folders ---------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    for name in (
        "train/good/0.png",
        "train/good/1.png",
        "train/good/2.png",
        "test/good/0.png",
        "test/dent/0.png",
        "ground_truth/dent/0_mask.png",
    ):
        write_grey(tmp_path / "bolt" / name)
    return tmp_path


def table(folder, *lines, header="file,site,group"):
    path = folder / "deal.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


LINES = (
    "bolt/train/good/0.png,south,g1",
    "bolt/train/good/1.png,north,g1",
    "bolt/test/dent/0.png,*,",
    "",
)


@pytest.mark.parametrize("sites", [0, 2])
@pytest.mark.parametrize("explicit", [True, False])
def test_manifest(tree, sites, explicit):
    data = discover(tree)
    path = table(tree, *LINES)
    root = tree if explicit else None
    parts = partition(data, "manifest", sites=sites, manifest=path, root=root)
    assert list(parts) == ["north", "south"]
    north, south = (own["bolt"] for own in parts.values())
    assert [p.name for p in north.train] == ["1.png"]
    assert [p.name for p in south.train] == ["0.png"]
    assert north.test == south.test == (data["bolt"].test[1],)
    assert north.test[0].masks
    assert statistics(parts, data) == [
        {"site": "north", "product": "bolt", "train": 1, "test_good": 0, "test_defective": 1},
        {"site": "south", "product": "bolt", "train": 1, "test_good": 0, "test_defective": 1},
        {"site": "(unused)", "product": "bolt", "train": 1, "test_good": 1, "test_defective": 0},
    ]
    assert statistics(parts) == statistics(parts, data)[:2]
    assert read_groups(path, root) == {
        tree / "bolt/train/good/0.png": "g1",
        tree / "bolt/train/good/1.png": "g1",
    }


def test_manifest_without_group_and_through_a_link(tree, tmp_path_factory):
    link = tmp_path_factory.mktemp("link") / "data"
    link.symlink_to(tree)
    path = table(tree, "bolt/train/good/0.png,a", header="file,site")
    parts = partition(discover(link), "manifest", sites=1, manifest=path, root=tree)
    assert len(parts["a"]["bolt"].train) == 1
    with pytest.raises(DataError, match="lacks column group"):
        read_groups(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bolt/train/good/9.png,north,", "line 6: no file .*9.png"),
        ("../bolt/train/good/0.png,north,", "line 6: .* must be a path below"),
        ("bolt/train/good/2.png,,", "line 6: site must not be empty"),
        ("bolt/train/good/0.png,south,", "line 6: .* was given to south in line 2 already"),
        ("bolt/test/dent/0.png,south,", r"line 6: the file went to south by \* in line 4"),
        ("bolt/train/good/2.png", "line 6: too few values"),
    ],
)
def test_bad_manifest_lines(tree, line, reason):
    path = table(tree, *LINES, line)
    with pytest.raises(DataError, match=reason) as caught:
        partition(discover(tree), "manifest", sites=0, manifest=path)
    assert "\n" not in str(caught.value)


def test_bad_manifests(tree):
    data = discover(tree)

    def refuse(match, *lines, error=DataError, sites=0, **kwargs):
        with pytest.raises(error, match=match):
            partition(data, "manifest", sites=sites, manifest=table(tree, *lines), **kwargs)

    refuse("holds 2 sites .north, south., but 4 were asked for", *LINES, error=ConfigError, sites=4)
    refuse("names no site", LINES[2])
    refuse("names no site")
    refuse("no line names an image of bolt", "bolt/ground_truth/dent/0_mask.png,north,")
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read"):
        partition(data, "manifest", sites=0, manifest=tree / "gone.csv")
    with pytest.raises(ConfigError, match="needs the path of a csv"):
        partition(data, "manifest", sites=0)
    path = table(tree, "bolt/train/good/0.png,a,x", "bolt/train/good/0.png,b,y")
    with pytest.raises(DataError, match="line 3: .* is in group x already"):
        read_groups(path)


def test_folders(tmp_path):
    for site in ("south", "north"):
        write_grey(tmp_path / site / "bolt/train/good/0.png")
    write_grey(tmp_path / "north/nut/train/good/0.png")
    (tmp_path / "notes.txt").touch()
    parts = partition({}, "folders", sites=0, root=tmp_path)
    assert {site: list(own) for site, own in parts.items()} == {
        "north": ["bolt", "nut"],
        "south": ["bolt"],
    }
    assert partition({}, "folders", sites=2, root=tmp_path, layout="mvtec") == parts
    with pytest.raises(ConfigError, match="holds 2 sites .* but 3 were asked for"):
        partition({}, "folders", sites=3, root=tmp_path)


def test_bad_folders(tmp_path):
    def refuse(match, root, error=DataError):
        with pytest.raises(error, match=match):
            partition({}, "folders", sites=0, root=root)

    refuse("needs a root", None, ConfigError)
    refuse("holds no folders", tmp_path)
    refuse("cannot be listed", tmp_path / "absent")
    (tmp_path / "east").mkdir()
    refuse("east: folder is empty", tmp_path)
    write_grey(tmp_path / "east/train/good/0.png")
    mends = "move its contents into east/<product>, or divide the images with partition='iid'"
    refuse(f"east: is a product itself.*{mends}", tmp_path)


# --- settings and reports ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "reason"),
    [
        ({"scheme": "random"}, ConfigError, "scheme must be one of iid"),
        ({"sites": 0}, ConfigError, "needs 1 site or more, got 0"),
        ({"sites": -1}, ConfigError, "needs 1 site or more"),
        ({"seed": -1}, ConfigError, "seed must be 0 or more"),
        ({"scheme": "dirichlet", "alpha": 0.0}, ConfigError, "greater than 0, got 0"),
        ({"scheme": "dirichlet", "alpha": float("nan")}, ConfigError, "greater than 0, got nan"),
        ({"sites": 6}, DataError, "5 training images cannot serve 6 sites"),
        ({"products": {}}, DataError, "no products"),
        (
            {"products": dataset((4,), (0, 3)), "scheme": "category"},
            DataError,
            "site-1 of 2 would get no training image",
        ),
    ],
)
def test_bad_settings(kwargs, error, reason):
    settings = {"products": dataset((5,)), "scheme": "iid", "sites": 2} | kwargs
    with pytest.raises(error, match=reason):
        partition(settings.pop("products"), settings.pop("scheme"), **settings)


def test_written_statistics(tmp_path):
    data = dataset((6, 2, 4), (4, 2, 0))
    parts = partition(data, "iid", sites=2)
    write_statistics(parts, tmp_path / "sites.csv", data)
    with (tmp_path / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {key: str(value) for key, value in row.items()} for row in statistics(parts, data)
    ]
    assert [list(row.values()) for row in rows] == [
        ["site-0", "p0", "3", "1", "2"],
        ["site-0", "p1", "2", "1", "0"],
        ["site-1", "p0", "3", "1", "2"],
        ["site-1", "p1", "2", "1", "0"],
    ]
    with pytest.raises(DataError, match="cannot be written"):
        write_statistics(parts, tmp_path)


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason=f"no benchmark data at {BENCHMARKS}")
def test_magnetic_tiles_by_exposure(tmp_path):
    """The benchmark's deal: training images by light, the whole test set to every site."""
    with (BENCHMARKS / "magnetic_tile.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [
        f"{row['file']},{row['exp'] if row['split'] == 'train' else '*'},{row['tile_group']}"
        for row in rows
    ]
    data = discover(BENCHMARKS, products=["magnetic_tile"])
    path = table(tmp_path, *lines)
    parts = partition(data, "manifest", sites=0, manifest=path, root=BENCHMARKS)
    counts = statistics(parts, data)
    assert sum(row["train"] for row in counts) == 759
    assert {(row["test_good"], row["test_defective"]) for row in counts} == {(193, 392)}
    assert len(set(read_groups(path, BENCHMARKS).values())) > 200


def test_public_names_exist():
    for module in (partition_module, manifest_module):
        assert all(hasattr(module, name) for name in module.__all__)
