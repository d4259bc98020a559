"""Local, federated and pooled are compared at equal size too, and their sizes are told."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.cli.results import result_table
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.comparison import comparison_rows
from fedpatchcore.server.pooled import pooled_baseline
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from tests.support.products import write_product


@pytest.fixture
def sites(settings: Callable[..., RunConfig], tmp_path: Path):
    def make(count: int, **overrides) -> list[Site]:
        config = settings(min_sites=1, compare_local=True, **overrides)
        opened = []
        for at in range(count):
            product = write_product(tmp_path / f"s{at}" / "plate", seed=100 * at, train=8)
            for one in sorted((product / "train" / "good").iterdir())[:4]:  # no defect at all
                shutil.copy(one, product / "test" / "square" / f"like-{one.name}")
            node = NodeConfig(site=f"s{at}", data=str(tmp_path / f"s{at}"))
            opened.append(open_site(config, node))
        return opened

    return make


def test_a_larger_bank_of_ones_own_is_cut_to_the_size_of_the_federated_one(sites) -> None:
    """Of a single site the first rows are what it shipped: the very same bank."""
    (alone,) = sites(1, coreset_size=1, global_bank_size=60)
    (record,) = federate([alone]).history
    told = record["evaluate"]["s0"]["products"]["plate"]
    assert record["sections"]["plate"]["rows"] == 1 and told["local_rows"] == 60
    assert told["local_equal_image_auroc"] == told["image_auroc"]
    assert told["local_image_auroc"] != told["local_equal_image_auroc"]


def test_a_bank_that_is_no_larger_is_not_cut(sites) -> None:
    three = sites(3, coreset_size=20, global_bank_size=20)
    (record,) = federate(three).history
    for site in three:
        told = record["evaluate"][site.name]["products"]["plate"]
        assert told["local_rows"] == record["sections"]["plate"]["rows"] == 20
        assert math.isnan(told["local_equal_image_auroc"])


def test_so_is_the_pooled_bank(sites) -> None:
    two = sites(2, coreset_size=5, global_bank_size=60)
    history = federate(two).history
    found = pooled_baseline(two, {"plate": 10})
    small = pooled_baseline([smaller(s, 10) for s in two], {"plate": 10})
    for site in ("s0", "s1"):
        one = found[site]["plate"]
        assert one["rows"] == 60 and small[site]["plate"]["rows"] == 10
        assert one["equal_image_auroc"] == small[site]["plate"]["image_auroc"]
        assert "equal_image_auroc" not in small[site]["plate"]
    rows = comparison_rows({"rounds": history, "pooled": found})
    heads = [str(c.header) for c in result_table(rows).columns]
    assert heads[-2:] == ["local, equal size", "pooled, equal size"]
    assert heads[:5] == ["product", "site", "local only", "federated", "pooled"]


def smaller(site: Site, size: int) -> Site:
    """The same site in a run whose banks hold fewer rows."""
    config = site.config.model_copy(update={"global_bank_size": size})
    root = site.products["plate"].train[0].parents[3]
    return open_site(config, NodeConfig(site=site.name, data=str(root)))
