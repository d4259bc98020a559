"""What a bank is said to hold: how many images taught it, and how near a row every patch lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.amounts import images_told
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.inprocess import federate
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from tests.support.products import write_product

TRAIN = 10


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((40,), "40 images"),
        ((1,), "1 image"),
        ((36, 4), "40 images (36 taught, 4 held out)"),
        ((36, 4, 2), "42 images (36 taught, 4 held out, 2 unreadable)"),
        ((0, 3), "3 images (0 taught, 3 held out)"),
        ((1200, 0, 1), "1,201 images (1,200 taught, 1 unreadable)"),
    ],
)
def test_images_are_told_whole_and_in_parts(counts: tuple[int, ...], told: str) -> None:
    assert images_told(*counts) == told


@pytest.fixture
def ran(settings: Callable[..., RunConfig], tmp_path: Path):
    """A federation of so many sites, its sites, and what was said."""

    def start(count: int, **overrides) -> tuple[Federation, list[Site], list[str]]:
        said: list[str] = []
        config = settings(min_sites=1, calibration="holdout", holdout=0.2, **overrides)
        sites = []
        for at in range(count):
            folder = tmp_path / f"s{at}"
            write_product(folder / "plate", seed=100 * at, train=TRAIN)
            node = NodeConfig(site=f"s{at}", data=str(folder))
            sites.append(open_site(config, node, say=said.append))
        federation = federate(sites, federation=Federation(config, say=said.append))
        return federation, sites, said

    return start


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("rows", [40, 12])
def test_every_patch_that_taught_lies_as_near_as_is_said(ran, count: int, rows: int) -> None:
    federation, sites, said = ran(count, global_bank_size=rows)
    facts = federation.history[-1]["sections"]["plate"]
    search = NearestNeighbours(federation.bank.section("plate").features)
    far = []
    for site in sites:
        patches = site.extractor.all(site.training_images("plate").used)[0].dense()
        far.append(float(search.search(patches.reshape(-1, patches.shape[-1]))[0].max()))
    assert 0 < max(far) <= facts["reach"] + 1e-4
    (line,) = [one for one in said if one.startswith("bank section plate")]
    assert f"every training patch within {facts['reach']:.4g} of a row" in line
    assert "radius 0" not in line
    if count == 1 and rows == 40:  # its rows are the bank: nothing else stands between
        assert max(far) == pytest.approx(facts["reach"], rel=1e-3)


def test_a_bank_of_one_site_is_not_said_to_be_perfect(ran, cli, tmp_path: Path) -> None:
    federation, _, _ = ran(1)
    file = tmp_path / "bank.safetensors"
    federation.bank.save(file)
    code, out, _ = cli("bank", "inspect", file)
    reach = federation.history[-1]["sections"]["plate"]["reach"]
    assert code == 0 and f"{reach:.4g}" in out
    assert "every patch that taught lies within it" in out and "taught" in out


def test_the_log_tells_taught_and_held_out_from_the_whole(ran) -> None:
    _, _, said = ran(2)
    told = f"{TRAIN} images (8 taught, 2 held out)"
    assert [line for line in said if line.startswith(f"plate: {told}, 0 cached")]
    assert [line for line in said if line.startswith(f"s0: {told}, ")]
