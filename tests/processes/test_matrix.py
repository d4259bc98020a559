"""Every method with every optimiser that it takes, run: two rounds of five sites, and verdicts.

Wires, client fractions and robustness are spread over these pairs, so that each is met several
times with each method. A few minutes (make test-processes).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.registry import OPTIMISERS, UPDATE_WIRES
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of
from tests.learned.test_composing import METHODS, settings, works
from tests.support.products import write_product

LAYERS = "features.4,features.7"
NAMES = ("a", "b", "c", "d", "e")


def spread() -> list[tuple[str, str, str, float, bool]]:
    """A place of each method and optimiser that go together; all wires in turn."""
    found, turn = [], 0
    for method, optimiser in itertools.product(METHODS, OPTIMISERS):
        more = itertools.product(UPDATE_WIRES, (1.0, 0.6), (False, True))
        taken = [one for one in more if works(method, optimiser, *one)]
        if taken:
            found.append((method, optimiser, *taken[turn % len(taken)]))
            turn += 5
    return found


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("five")
    for at, name in enumerate(NAMES):
        write_product(root / name / "plate", seed=1000 * at, train=6, good=2, bad=2)
    return root


@pytest.fixture(scope="module")
def deep(weights_file: Path) -> Backbone:
    told = {"backbone": "squeezenet1_1", "layers": LAYERS, "image_size": 64, "geometry": "full"}
    return build_backbone(RunConfig(**told, weights=str(weights_file), device="cpu"))


def test_all_wires_fractions_and_protections_are_among_them() -> None:
    met = spread()
    assert len(met) > 35
    assert {one[2] for one in met} == set(UPDATE_WIRES)
    assert {one[3] for one in met} == {1.0, 0.6}
    assert {one[4] for one in met} == {False, True}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("place", spread(), ids=lambda one: "-".join(map(str, one)))
def test_what_is_taken_runs(place, deep: Backbone, five: Path, tmp_path: Path) -> None:
    told = {**settings(*place, dp="off", secure=False), "backbone": "squeezenet1_1"}
    told |= {"layers": LAYERS, "image_size": 64, "geometry": "full", "threads": 1}
    told |= {"coreset_size": 20, "global_bank_size": 60, "num_rounds": 2, "compare_local": False}
    told |= {"min_sites": 3, "tolerated_sites": 0} if place[3] < 1 else {"tolerated_sites": 1}
    config = RunConfig(**told)
    sites = [
        Site(name, discover(five / name), config, deep, cache=SiteCache(tmp_path / name, 1.0))
        for name in NAMES
    ]
    found = federate(sites, rounds=2, federation=Federation(config, rules=rule_of))
    last = found.history[-1]
    assert not last["rejected"] and found.bank.thresholds["plate"], last["rejected"]
    if place[0] not in ("patchcore", "feddymem-own"):
        assert last["sections"]["plate"]["updates"] >= 1
