"""Images that a simulation leaves out: at the virtual site that has them, counted there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.inprocess import federate
from fedpatchcore.server.pooled import pooled_baseline
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.site.virtual import virtual_sites
from tests.support.products import write_product

OUT = ("plate/train/good/003.png", "plate/train/good/007.png", "plate/train/good/008.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_product(tmp_path / "data" / "plate", train=12)
    return tmp_path / "data"


def table(folder: Path, *files: str) -> str:
    path = folder / "out.csv"
    path.write_text("\n".join(("file,reason", *(f"{file},scratched" for file in files))) + "\n")
    return str(path)


@pytest.fixture
def opened(settings: Callable[..., RunConfig], data: Path):
    def make(**overrides) -> list[Site]:
        told = {"data": str(data), "partition": "iid", "compare_local": False} | overrides
        nodes = [NodeConfig(partition_id=at, num_partitions=2) for at in range(2)]
        return [open_site(settings(**told), node) for node in nodes]

    return make


def test_virtual_sites_leave_them_out_and_tell_how_many(opened, data: Path, tmp_path: Path) -> None:
    before = opened()
    sites = opened(exclude=table(tmp_path, *OUT))
    gone, expected = {data / file for file in OUT}, {}
    for was, now in zip(before, sites, strict=True):
        had = was.products["plate"].train
        assert now.products["plate"].train == tuple(path for path in had if path not in gone)
        expected[now.name] = len(gone & set(had))
    assert sum(expected.values()) == 3
    federation = federate(sites)
    told = federation.history[0]["train"]
    assert {s: one["sections"][0]["excluded"] for s, one in told.items()} == expected
    counted = {site: count for site, count in expected.items() if count}
    assert federation.bank.excluded == {"plate": counted}
    assert federation.bank.sections["plate"].images == {
        site: 6 - count for site, count in expected.items()
    }
    assert pooled_baseline(sites)["site-0"]["plate"]["calibrated"] == 9


def test_sites_that_are_folders_leave_out_their_own(settings, tmp_path: Path) -> None:
    for at, name in enumerate("ab"):
        write_product(tmp_path / "all" / name / "plate", train=4, seed=100 * at)
    listing = table(tmp_path, "b/plate/train/good/001.png")
    config = settings(data=str(tmp_path / "all"), exclude=listing)
    sites = virtual_sites(config)
    assert {name: len(own["plate"].train) for name, own in sites.items()} == {"a": 4, "b": 3}


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (["plate/test/good/000.png"], "no training image here"),
        (["plate/train/good/099.png"], "no file"),
        (
            [f"plate/train/good/{at:03d}.png" for at in range(12)],
            "leaves no training image of 'plate' at site 'site-0'; remove lines",
        ),
    ],
)
def test_a_list_that_cannot_be_meant_stops_the_simulation(
    opened, tmp_path: Path, files: list[str], fault: str
) -> None:
    with pytest.raises(DataError, match=fault) as error:
        opened(exclude=table(tmp_path, *files))
    assert "\n" not in str(error.value) and "out.csv" in str(error.value)


def test_at_a_real_site_it_is_the_sites_own_word(settings, data: Path, tmp_path: Path) -> None:
    listing = table(tmp_path, OUT[0])
    with pytest.raises(ConfigError, match="site 'north' is real and says itself") as error:
        open_site(settings(exclude=listing), NodeConfig(site="north", data=str(data)))
    assert "\n" not in str(error.value) and "take exclude out of the run" in str(error.value)
    site = open_site(settings(), NodeConfig(site="north", data=str(data), exclude=listing))
    assert site.excluded == {"plate": 1}


def test_neither_excluded_images_nor_those_of_other_sites_are_called_unused(
    settings, data: Path, tmp_path: Path
) -> None:
    """In folders that are groups: an image that no site uses is one that nobody named."""
    good = data / "plate" / "train" / "good"
    (good / "lot").mkdir()
    for path in sorted(good.glob("*.png"))[:6]:
        path.rename(good / "lot" / path.name)
    listing = table(tmp_path, "plate/train/good/lot/003.png")

    def told(group_by: str, node: NodeConfig, **more: str) -> list[str]:
        said: list[str] = []
        open_site(
            settings(data=str(data), partition="iid", group_by=group_by, **more),
            node,
            say=said.append,
        )
        return [line for line in said if "not used" in line]

    for at in range(2):
        virtual = NodeConfig(partition_id=at, num_partitions=2)
        assert told("folder", virtual, exclude=listing) == []
        left = told("none", virtual)
        assert left == [] if at else "6 images in sub-folders" in left[0]  # said once
    real = NodeConfig(site="north", data=str(data), exclude=listing)
    assert told("folder", real) == []
    bare = NodeConfig(site="north", data=str(data))
    assert "6 images in sub-folders" in told("none", bare)[0]
