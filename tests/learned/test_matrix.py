"""Every method with every optimiser and wire that it takes, run: two rounds of five sites.

No real processes: what Flower adds is the same for all of them (`tests/processes/test_training.py`,
`tests/faults/test_training.py`). Client fractions and robustness are spread over the places, so
that each is met many times with each method. 132 seconds of one core (make test-long).
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.products import Product
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.registry import OPTIMISERS, UPDATE_WIRES
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of
from tests.learned.test_composing import METHODS, settings, works
from tests.support.products import write_product

LAYERS = "features.4,features.7"
NAMES = ("a", "b", "c", "d", "e")
Place = tuple[str, str, str, float, bool]


def spread() -> list[Place]:
    """A place of each method, optimiser and wire that go together; the rest in turn."""
    found = []
    for turn, three in enumerate(itertools.product(METHODS, OPTIMISERS, UPDATE_WIRES)):
        more = itertools.product((1.0, 0.6), (False, True))
        if taken := [one for one in more if works(*three, *one)]:
            found.append((*three, *taken[turn % len(taken)]))
    return found


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Product]]:
    root = tmp_path_factory.mktemp("five")
    for at, name in enumerate(NAMES):
        write_product(root / name / "plate", seed=1000 * at, train=6, good=2, bad=2)
    return {name: discover(root / name) for name in NAMES}


@pytest.fixture(scope="module")
def deep(weights_file: Path) -> Backbone:
    told = {"backbone": "squeezenet1_1", "layers": LAYERS, "image_size": 64, "geometry": "full"}
    return build_backbone(RunConfig(**told, weights=str(weights_file), device="cpu"))


@pytest.fixture(scope="module")
def known(five, deep: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of all sites' features, and of nothing else."""
    root = tmp_path_factory.mktemp("known")
    tool = Extractor(deep, batch_size=8, cache=SiteCache(root, 1.0))
    for products in five.values():
        for one in products.values():
            tool.all([*one.train, *(test.path for test in one.test)])
    return root


def test_all_wires_fractions_and_protections_are_among_them() -> None:
    met = spread()
    accepted = {
        three
        for three in itertools.product(METHODS, OPTIMISERS, UPDATE_WIRES)
        if any(works(*three, f, r) for f in (1.0, 0.6) for r in (False, True))
    }
    assert {one[:3] for one in met} == accepted and len(met) == len(accepted) > 130
    for method in ("feddymem", "generator", "student"):
        mine = [one for one in met if one[0] == method]
        for at, values in ((2, set(UPDATE_WIRES)), (3, {1.0, 0.6}), (4, {False, True})):
            assert {one[at] for one in mine} == values, (method, at)


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("place", spread(), ids=lambda one: "-".join(map(str, one)))
def test_what_is_taken_runs(place: Place, deep: Backbone, five, known: Path, tmp_path) -> None:
    told = {**settings(*place, dp="off", secure=False), "backbone": "squeezenet1_1"}
    told |= {"layers": LAYERS, "image_size": 64, "geometry": "full", "threads": 1}
    told |= {"coreset_size": 20, "global_bank_size": 60, "num_rounds": 2, "compare_local": False}
    told |= {"min_sites": 3, "tolerated_sites": 0} if place[3] < 1 else {"tolerated_sites": 1}
    config = RunConfig(**told)
    sites = []
    for name, products in five.items():
        shutil.copytree(known, tmp_path / name)
        sites.append(Site(name, products, config, deep, cache=SiteCache(tmp_path / name, 1.0)))
    found = federate(sites, rounds=2, federation=Federation(config, rules=rule_of))
    last = found.history[-1]
    assert not last["rejected"] and found.bank.thresholds["plate"], last["rejected"]
    assert all(np.isfinite(limit) for limit in found.bank.thresholds["plate"].values())
    found.bank.save(tmp_path / "bank.safetensors")
    assert MemoryBank.load(tmp_path / "bank.safetensors").to_bytes() == found.bank.to_bytes()
    if place[0] not in ("patchcore", "feddymem-own"):
        assert last["sections"]["plate"]["updates"] >= 1
