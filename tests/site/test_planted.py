"""Defects planted at a site: what counts as found, in which pictures, and what leaves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.errors import CoresetError, DataError
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.planted_found import PlantedFound
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.planted.grid import tasks
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.planted import good_pictures, plant_into, real_sizes
from fedpatchcore.site.site import Site
from fedpatchcore.site.withholding import withheld
from fedpatchcore.wire.evaluate import pack_evaluate, unpack_evaluate
from tests.support.products import write_product


@pytest.fixture
def product(tmp_path: Path):
    write_product(tmp_path / "a" / "plate", train=10, good=6, bad=3)
    return discover(tmp_path / "a")["plate"]


def test_hits_are_pictures_above_the_threshold(product, backbone) -> None:
    """With a score that is read off the features, and each picture planted by hand."""
    pictures, learnt = good_pictures(product)
    assert not learnt and len(pictures) == 6

    def score(features: np.ndarray) -> np.ndarray:
        return features.reshape(len(features), -1).max(1)

    every = [score(backbone.extract([backbone.open(path)]))[0] for path in pictures]
    limit = float(np.median(every))
    found = plant_into(backbone, pictures, score, limit, learnt=learnt, trials=30, seed=4)
    assert found.stopped.count == sum(one > limit for one in every) and found.pictures == 6
    assert found.found.of <= 30
    from fedpatchcore.data.content import content_hash

    keys = sorted((content_hash(path), path) for path in pictures)
    order = np.random.default_rng([4, 5]).permutation(6)
    hits: dict[tuple, list[bool]] = {}
    for task in tasks(6, 5, seed=4):
        planted = task.into(np.asarray(backbone.open(keys[order[task.image]][1])))
        if not planted.faint:
            one = score(backbone.extract([Image.fromarray(planted.picture)]))[0] > limit
            hits.setdefault((task.kind, task.size, task.contrast), []).append(bool(one))
    assert {c: (sum(h), len(h)) for c, h in hits.items()} == {
        c: (r.count, r.of) for c, r in found.cells.items()
    }


def test_pictures_that_the_bank_learnt_from_are_the_last_resort(product) -> None:
    few = replace(product, test=product.test[:2])
    assert good_pictures(few) == (list(product.train), True)
    held = product.train[:5]
    assert good_pictures(replace(product, test=()), held) == (list(held), False)


def test_without_a_threshold_or_pictures_it_is_said(product, backbone) -> None:
    score = lambda features: np.zeros(len(features))  # noqa: E731
    with pytest.raises(DataError, match="no threshold"):
        plant_into(backbone, product.train, score, math.nan, learnt=True)
    with pytest.raises(DataError, match="no picture of a good part"):
        plant_into(backbone, [Path("none.png")], score, 1.0, learnt=True)


def test_real_defects_have_the_extent_of_their_masks(product, backbone) -> None:
    tests = sorted(product.test, key=lambda test: test.anomalous)
    scores = np.arange(len(tests), dtype=float)  # the defects are the last three
    sizes, found = real_sizes(tests, scores, scores[-2] - 0.5, backbone)
    assert sizes == [16 / 64] * 3 and found == [False, True, True]


def test_counts_leave_a_site_and_reach_the_bank(settings, backbone, tmp_path: Path) -> None:
    config = settings(planted_trials=24, min_sites=2)
    sites = []
    for at, name in enumerate(("a", "b")):
        write_product(tmp_path / name / "plate", train=10, good=6, seed=1000 * at)
        sites.append(Site(name, discover(tmp_path / name), config, backbone))
    federation = federate(sites)
    told = federation.history[-1]["evaluate"]
    for name in ("a", "b"):
        result = told[name]["products"]["plate"]
        found = PlantedFound.of_result(result, CELLS)
        assert 10 < found.found.of <= 24 and found.pictures == 6
        assert federation.bank.planted["plate"][name]["of"] == found.found.of
    path = tmp_path / "bank.safetensors"
    federation.bank.save(path)
    assert MemoryBank.load(path).planted == federation.bank.planted
    reply, _ = evaluate_site(sites[0], federation.bank)
    assert unpack_evaluate(pack_evaluate(reply)).results[0].planted_of == (
        reply.results[0].planted_of
    )
    private = withheld(reply, config.model_copy(update={"dp_share_metrics": False}))
    assert sum(private.results[0].planted_of) == 0 and private.results[0].planted_pictures == 0


IMPOSSIBLE = (
    {"planted_found": (1,) * len(CELLS), "planted_of": (0,) * len(CELLS)},
    {"planted_of": (1000,) * len(CELLS)},
    {"planted_of": (1,) * 3},
    {"planted_pictures": 0},
    {"planted_stopped": 99},
    {"planted_learnt": 2},
    {"threshold": math.nan, "calibrated": 0, "groups": 0},
)


def test_counts_that_no_site_can_have_are_refused(settings, backbone, tmp_path: Path) -> None:
    config = settings(planted_trials=10, min_sites=1)
    write_product(tmp_path / "a" / "plate", train=8, good=5, bad=0)
    site = Site("a", discover(tmp_path / "a"), config, backbone)
    federation = Federation(config)
    federation.accept(site.train())
    federation.merge(1)
    reply, _ = evaluate_site(site, federation.bank)
    assert sum(reply.results[0].planted_of) > 0
    for change in IMPOSSIBLE:
        bad = replace(reply, results=(replace(reply.results[0], **change),))
        with pytest.raises(CoresetError):
            federation.evaluated(bad)
    federation.evaluated(reply)
