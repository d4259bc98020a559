"""Folds: who shares one, and that no image is scored by a bank that holds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.folds import FEW, fold_numbers, out_of_fold
from fedpatchcore.detection.reading import feature_batches
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.settings import DetectionSettings
from fedpatchcore.features.maps import FeatureMaps
from fedpatchcore.settings import describe
from tests.support.products import picture
from tests.support.strategies import SEEDS


@given(st.integers(2, 40), st.integers(2, 12), st.integers(1, 40), SEEDS)
def test_groups_stay_together_and_folds_are_even(n: int, folds: int, many: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, many, n).tolist()
    keys = [f"{at:04d}" for at in range(n)]
    found = fold_numbers(keys, folds, seed=seed, groups=groups)
    for group in set(groups):
        assert len({int(f) for f, g in zip(found, groups, strict=True) if g == group}) == 1
    sizes = np.bincount(found)
    count = len(set(groups))
    assert len(sizes) == (count if count <= 12 else min(folds, count))
    assert sizes.min() >= 1 and sizes.max() - sizes.min() <= max(map(groups.count, groups))
    order = rng.permutation(n)
    again = fold_numbers(
        [keys[i] for i in order], folds, seed=seed, groups=[groups[i] for i in order]
    )
    assert (again == found[order]).all()


def test_one_file_under_two_names_shares_a_fold() -> None:
    found = fold_numbers(["a", "b", "a", "c"], 4, seed=0, groups=["x", "y", "z", "w"])
    assert found[0] == found[2] and len(set(found.tolist())) == 3


@given(SEEDS)
def test_every_image_is_scored_by_all_others_but_its_fold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(9, 2, 3, 4)).astype(np.float32)
    before, numbers = features.copy(), rng.permutation(np.arange(9) % 3)
    maps = FeatureMaps.of(features)
    found = out_of_fold(maps, numbers, lambda rows, _: {"all": Scorer(rows)})["all"]
    assert (features == before).all()  # all images are back in their places
    for at in range(9):
        rows = before[numbers != numbers[at]].reshape(-1, 4)
        apart = np.linalg.norm(before[at].reshape(-1, 1, 4) - rows[None], axis=2).min(1)
        np.testing.assert_allclose(found.patches[at].ravel(), apart, rtol=1e-4)
        assert found.images[at] == pytest.approx(apart.max(), rel=1e-4)


@pytest.mark.parametrize(("parts", "folds"), [(2, 2), (7, 7), (12, 12), (13, 5), (40, 5)])
def test_few_groups_are_left_out_one_by_one(parts: int, folds: int) -> None:
    """However many images they have, and whatever is asked for."""
    groups = [at % parts for at in range(80)]
    found = fold_numbers([f"{at:02d}" for at in range(80)], 5, seed=3, groups=groups)
    assert len(set(found.tolist())) == folds
    if parts == folds:
        assert len(set(zip(groups, found.tolist(), strict=True))) == parts
    alone = fold_numbers([f"{at:02d}" for at in range(parts)], 5, seed=3)
    assert len(set(alone.tolist())) == folds


def test_the_setting_says_what_few_are() -> None:
    told = {one.key: one.help for one in describe(DetectionSettings)}
    assert f"up to {FEW} groups" in told["folds"]


@pytest.mark.parametrize("folds", [2, 5, 14])
def test_fit_scores_each_image_without_it(folds: int, settings, backbone) -> None:
    """With all patches kept, a score is the distance to every patch of the other folds."""
    pictures = [picture(at) for at in range(14)]
    detector = PatchCore(
        settings(folds=folds, coreset_size=0, coreset_ratio=1.0, global_bank_size=10**6),
        backbone=backbone,
    )
    learned = detector.fit({"plate": pictures}).learned["plate"]
    assert (learned.taught, learned.held_out) == (14, 0)
    features = np.concatenate(list(feature_batches(backbone, pictures, detector.config)))
    keys = [f"{at:08d}" for at in range(14)]
    numbers = fold_numbers(keys, folds, seed=detector.config.seed)
    for at in range(14):
        rows = features[numbers != numbers[at]].reshape(-1, features.shape[-1])
        apart = Scorer(rows)(features[at : at + 1]).images[0]
        assert learned.scores.images[at] == pytest.approx(apart, rel=1e-4)
    assert detector.bank.calibration["plate"]["this-machine"]["folds"] == folds
    assert detector.bank.sections["plate"].images == {"this-machine": 14}
