"""A site's thresholds in a federation: its images against others' rows and its own without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.detection.folds import fold_numbers, scored
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.tally import Tally
from fedpatchcore.inprocess import federate
from fedpatchcore.site import normals
from fedpatchcore.site.normals import by_folds
from fedpatchcore.site.site import Site
from tests.support.products import write_product


@pytest.fixture
def open_(settings, backbone, tmp_path: Path):
    def make(name: str, *, groups=None, train: int = 8, **overrides) -> Site:
        folder = tmp_path / name
        if not folder.exists():
            write_product(folder / "plate", train=train, seed=1000 * ord(name[0]))
        cache = SiteCache(tmp_path / "cache" / name, 1.0)
        told = {"min_sites": 1, **overrides}
        return Site(name, discover(folder), settings(**told), backbone, cache=cache, groups=groups)

    return make


@pytest.mark.parametrize("size", [10_000, 60])
def test_scores_are_those_of_the_bank_without_the_fold(open_, size: int) -> None:
    """Against distances computed one by one, whole banks and banks that keep a part."""
    sites = [
        open_(name, global_bank_size=size, coreset_size=40, folds=4, train=14) for name in "abc"
    ]
    federation = federate(sites)
    bank, site = federation.bank, sites[1]
    section = bank.sections["plate"]
    found = by_folds(site, bank, "plate", Tally())
    images = site.training_images("plate")
    assert found.folds == 4 and found.scored["global"].images == images.used
    features, _, _ = site.extractor.all(images.used)
    features = features.dense()
    numbers = fold_numbers(images.keys, 4, seed=site.config.seed)
    others = section.features[section.origin != 1]
    mine = int((section.origin == 1).sum())
    assert mine == (40 if size == 10_000 else mine) and mine > 0
    for at in range(14):
        patches = features[numbers != numbers[at]].reshape(-1, features.shape[-1])
        own = patches[greedy_k_center(patches, 40, seed=site.config.seed).indices]
        if mine < 40:
            own = own[greedy_k_center(own, mine, centres=others).indices]
        rows = np.concatenate([others, own])
        queries = features[at].reshape(-1, features.shape[-1])
        apart = np.linalg.norm(queries[:, None] - rows[None], axis=2).min(1)
        assert found.scored["global"].scores[at] == pytest.approx(apart.max(), rel=1e-4)
    told = federation.history[0]["evaluate"]["b"]["products"]["plate"]
    limit = calibrate(found.scored["global"].scores, site.config.target_fpr)
    assert told["threshold"] == bank.threshold("plate", "b") == limit.value
    assert (told["calibrated"], told["groups"], told["folds"]) == (14, 14, 4)
    assert bank.calibration["plate"]["b"]["high"] == told["fpr_high"] == limit.high


def test_shots_of_one_part_share_a_fold(open_, tmp_path: Path) -> None:
    probe = open_("a")
    paths = probe.training_images("plate").used
    groups = {path: f"part-{at // 4}" for at, path in enumerate(paths)}
    federation = federate([open_("a", groups=groups), open_("b")])
    told = federation.history[0]["evaluate"]["a"]["products"]["plate"]
    assert (told["calibrated"], told["groups"], told["folds"]) == (8, 2, 2)
    assert 0 <= told["new_group_fpr"] <= 1
    assert "new_group" in federation.bank.calibration["plate"]["a"]
    assert "new_group" not in federation.bank.calibration["plate"]["b"]


def test_a_single_image_teaches_and_sets_no_threshold(open_) -> None:
    federation = federate([open_("a", train=1), open_("b")])
    told = federation.history[0]["evaluate"]["a"]["products"]["plate"]
    assert told["calibrated"] == 0 and np.isnan(told["threshold"])
    assert federation.bank.sections["plate"].images == {"a": 1, "b": 8}
    assert set(federation.bank.thresholds["plate"]) == {"b"}


def test_rows_without_origin_take_a_hold_out(open_) -> None:
    how = {"robustness_enabled": True, "min_sites": 3, "tolerated_sites": 1}
    sites = [open_(n, robustness_aggregation="coordinate_median", **how) for n in "abc"]
    federation = federate(sites)
    told = federation.history[0]["evaluate"]["a"]["products"]["plate"]
    assert (told["calibrated"], told["folds"]) == (1, 0)
    assert federation.bank.sections["plate"].images["a"] == 7


def test_a_memory_budget_changes_no_score(open_) -> None:
    plain, tight = ([open_(n, memory_budget=b) for n in "ab"] for b in (0.0, 2.0))
    banks = [federate(sites).bank for sites in (plain, tight)]
    scores = [
        dict(zip(n.scored["global"].images, n.scored["global"].scores, strict=True))
        for n in (
            by_folds(sites[0], bank, "plate", Tally())
            for sites, bank in zip((plain, tight), banks, strict=True)
        )
    ]
    assert scores[0].keys() == scores[1].keys()
    for path, score in scores[0].items():
        assert scores[1][path] == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("budget", [0.0, 2.0])
@pytest.mark.parametrize("local", [False, True])
def test_a_site_without_rows_in_the_bank_selects_nothing_for_its_folds(
    open_, monkeypatch, budget: float, local: bool
) -> None:
    """No row of its own can be in its way; only a bank of its own to compare with takes some."""
    bank = federate([open_(name) for name in "ab"]).bank
    site = open_("c", memory_budget=budget, compare_local=local, folds=4, train=14)
    selections = []
    for name in ("selected", "own_coreset"):
        real = getattr(normals, name)
        monkeypatch.setattr(
            normals, name, lambda *a, _real=real, **k: selections.append(1) or _real(*a, **k)
        )
    found = by_folds(site, bank, "plate", Tally()).scored["global"]
    assert len(selections) == (4 if local and not budget else 0)
    features, kept, _ = site.extractor.all(found.images)
    assert len(kept) == 14
    whole = scored(Scorer.of(bank, "plate", "c"), features)
    np.testing.assert_allclose(found.scores, whole.images, rtol=1e-5)
    by_folds(open_("a", seed=5, memory_budget=budget), bank, "plate", Tally())
    assert len(selections) >= 4  # of a site that has rows there
